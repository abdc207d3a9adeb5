"""Spreadsheets as integrators have them, and the messages about mistakes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import load_good_tables

from gateway.errors import ConfigError
from gateway.tools.import_table import import_points
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Point

OVERLAP = "input register 4 of unit 1 on regs for C/D overlaps A/B at row 2"
MINIMAL = "tag,point,asset,from,type,address\n"


def imported(folder: Path, sheet: str | bytes, site: str | None = "hq") -> dict[str, Point]:
    """Return the points of the table made from a sheet, by name."""
    data = sheet.encode() if isinstance(sheet, str) else sheet
    return dict(
        load_good_tables(folder, import_points(read_sheet(data), name="a.csv", site=site).text).by_name
    )


def problems_of(sheet: str | bytes, site: str | None = "hq") -> list[str]:
    """Return the problems of a sheet."""
    data = sheet.encode() if isinstance(sheet, str) else sheet
    with pytest.raises(ConfigError) as caught:
        import_points(read_sheet(data), name="a.csv", site=site)
    return list(caught.value.problems)


def place(point: Point) -> tuple[str, str, int, str]:
    """Return sink, table, address and type of the point's only register."""
    (register,) = point.registers
    return register.sink, register.table.value, register.address, register.type


def test_a_few_columns_are_enough(tmp_path: Path) -> None:
    """Tag, point, asset, reading, type and an address make a point with an input register."""
    sheet = f"{MINIMAL}CH-1,CHWS-T,ast-1,supply,int16,40\n"
    points = imported(tmp_path, sheet)
    assert place(points["CH-1/CHWS-T"]) == ("regs", "input", 40, "int16")


def test_a_modicon_number_states_the_table(tmp_path: Path) -> None:
    """A modicon number is read with and without the leading zeros that spreadsheets drop."""
    sheet = (
        "tag,point,asset,from,type,modicon,table\nA,1,a,t,int16,40011,\nA,2,a,t,,1,\nA,3,a,t,bit,10001,coil\n"
    )
    points = imported(tmp_path, sheet)
    assert [place(points[f"A/{number}"])[1:3] for number in (1, 2, 3)] == [
        ("holding", 10), ("coil", 0), ("coil", 10000),
    ]  # fmt: skip


def test_a_point_without_address_has_no_register(tmp_path: Path) -> None:
    """A point without any address is on MQTT only."""
    points = imported(tmp_path, "tag,point,asset,from\nA,B,a,t\n")
    assert points["A/B"].registers == ()


def test_each_point_has_its_keys() -> None:
    """Points of a tag are together, each with its own keys in the usual order, quoted only where needed."""
    sheet = (
        "tag,point,asset,from,type,address,table,unit,order,stale_after,unit_of_measure,description,site\n"
        'M-1,KWH,a,e,uint32,0,holding,3,CDAB,24h,kWh,"yes: counter, no 5",s1\n'
        "M-1,KW,a,p,float32,2,holding,3,CDAB,24h,kW,,s1\n"
        "M-1,SN,a,s,string(8),10,input,3,,never,,no,s1\n"
    )
    assert import_points(read_sheet(sheet.encode()), name="m.csv").text.partition("again.\n")[2] == (
        "\n"
        "schema: gateway.points/1\n"
        "site: s1\n"
        "\n"
        "points:\n"
        "  # M-1\n"
        '  - {tag: M-1, point: KWH, asset: a, from: e, unit: kWh, description: "yes: counter, no 5", '
        "stale_after: 24h,\n"
        "     modbus: {to: regs, unit: 3, table: holding, register: 0, type: uint32, order: CDAB}}\n"
        "  - {tag: M-1, point: KW, asset: a, from: p, unit: kW, stale_after: 24h,\n"
        "     modbus: {to: regs, unit: 3, table: holding, register: 2, type: float32, order: CDAB}}\n"
        '  - {tag: M-1, point: SN, asset: a, from: s, description: "no", stale_after: never,\n'
        "     modbus: {to: regs, unit: 3, table: input, register: 10, type: string(8)}}\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        "tag,point,asset,from,type,address,gain\r\nA,B,a,t,int16,4,0.5\r\n".encode("utf-8-sig"),
        b"tag;point;asset;from;type;address;gain\r\nA;B;a;t;int16;4;0,5\r\n",
        "tag\tpoint\tasset\tfrom\ttype\taddress\tgain\r\nA\tB\ta\tt\tint16\t4\t0,5\r\n".encode("utf-16"),
        b"\n Gain ;FROM;Type ;TAG;point;ASSET;Address;;\n\n0,5;t;INT16;A;B;a;4;;\n;;;;;;;;\n",
        b'tag,point,asset,from,type,address,gain\nA,B,a,t,int16,4,"0,5"\n',
        b"tag,point,asset,from,type,number,gain\nA,B,a,t,int16,5.0,+5e-1\n",
    ],
    ids=[
        "utf-8 with mark",
        "semicolons",
        "unicode text",
        "any order and case",
        "quoted comma",
        "as Excel counts",
    ],
)
def test_a_spreadsheet_reads_well(data: bytes, tmp_path: Path) -> None:
    """Any usual encoding, separator, decimal mark and order of columns is read; empty rows are skipped."""
    point = imported(tmp_path, data)["A/B"]
    assert place(point) == ("regs", "input", 4, "int16")
    assert point.conversion.gain == 0.5


def test_text_of_an_old_windows_is_read_with_a_note() -> None:
    """A file that is not UTF-8 is read as Windows-1252, with a note."""
    sheet = read_sheet("tag,point,asset,from,unit_of_measure\nA,B,a,t,°C\n".encode("cp1252"))
    imported_table = import_points(sheet, name="a", site="s")
    assert "unit: °C" in imported_table.text
    assert "Windows-1252" in imported_table.notes[0]


def test_words_of_other_languages(tmp_path: Path) -> None:
    """True and false are read as spreadsheets write them; pairs are separated by commas or lines."""
    sheet = (
        "tag;point;asset;from;range_low;range_high;clamp;mqtt;map\n"
        'A;1;a;t;0;1,5;WAHR;FALSCH;\nA;2;a;t;;;falsch;;"an: 1\naus: 0"\nA;3;a;t;;;;;an: 1, aus: 0\n'
    )
    points = imported(tmp_path, sheet)
    assert points["A/1"].conversion.clamp
    assert points["A/1"].conversion.range == (0, 1.5)
    assert points["A/1"].mqtt is None
    assert points["A/2"].conversion.map == points["A/3"].conversion.map == {"an": 1, "aus": 0}


def test_rows_of_one_point_are_its_registers(tmp_path: Path) -> None:
    """A second row of a point is another register; its empty cells are those of the first row."""
    sheet = f"{MINIMAL[:-1]},table,unit_of_measure\nA,B,a,t,int16,4,input,degC\nA,B,,,,7,coil,\n"
    assert "row 3, column from" in problems_of(sheet.replace("A,B,a", "A,C,a"))[0]
    point = imported(tmp_path, sheet)["A/B"]
    assert [(register.table.value, register.address) for register in point.registers] == [
        ("input", 4),
        ("coil", 7),
    ]


def test_quotes_against_formulas_are_removed(tmp_path: Path) -> None:
    """A ' that keeps text from becoming a formula is no part of the text; any other ' is."""
    sheet = "tag,point,asset,from,description\n'-A,'B,a,'=t,'''=x\n"
    point = imported(tmp_path, sheet)["-A/'B"]
    assert (point.source, point.description) == ("=t", "''=x")


def test_rows_of_pseudo_readings(tmp_path: Path) -> None:
    """Rows of age and quality become points; the heartbeat's row becomes the heartbeat, 10 s by default."""
    sheet = f"{MINIMAL[:-1]},every\nA,AGE,a,$age,uint32,4,\nA,Q,a,$quality,uint16,6,\n"
    sheet += ",,,$heartbeat,uint16,0,30s\n"
    points = imported(tmp_path, sheet)
    assert sorted(points) == ["$gateway/heartbeat", "A/AGE", "A/Q"]
    assert "every: 30s" in import_points(read_sheet(sheet.encode()), name="a", site="hq").text
    assert (
        "every: 10s" in import_points(read_sheet(sheet.replace("30s", "").encode()), name="a", site="hq").text
    )


def test_one_site_of_several_is_chosen() -> None:
    """A table has one site: `--site` chooses it, and a note counts the points that are left out."""
    sheet = "tag,point,asset,from,site\nA,1,a,t,s1\nA,2,a,t,s2\nA,3,a,t,\n"
    assert problems_of(sheet, None) == [
        "there are rows of several sites: choose one with --site, one of s1, s2"
    ]
    imported_table = import_points(read_sheet(sheet.encode()), name="a", site="s2")
    assert (imported_table.points, imported_table.notes) == (2, ("1 points of other sites are left out",))
    assert problems_of("tag,point,asset,from\nA,1,a,t\n", None) == [
        "the site is not known: add a column `site`, or say --site NAME"
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("A,B,a,t,int17,4", "row 2, column type: a type is one of int16"),
        ("A,B,a,t,int16,4,,3000", None),
        ("A,B,a,t,int16,70000", "row 2, column address: must be at most 65535 (70000)"),
        ("A,B,a,t,int16,4.5", "row 2, column address: a whole number is expected: of several registers the"),
        ("A,B,a,t,uint32,40001 - 40002", "row 2, column address: a whole number is expected: of several"),
        ("A,B,a,t,int16,4,degC", "row 2, column unit: a number is expected"),
        ('A,B,a,t,int16,4,,"1,000"', "row 2, column scale: may be a whole number"),
        ("A,B,a,t,int16,4,,1.12.000", "row 2, column scale: a number is expected"),
        ("A,B,a,t,int16,4,,03. Mai", "row 2, column scale: a number is expected"),
        ("A,B,a,t,int16,#REF!", "row 2, column address: a number is expected"),
        (
            "A,B,a,t,int16,4,,,31001",
            "row 2: the columns differ, as PDU addresses: address says 4, modicon says 1000",
        ),
        ("A,B,a,t,int16,,,,41", "row 2, column type: a coil is one bit"),
        ("A,B,a,t,int16,,,,5", "row 2, column type: a coil is one bit"),
        ("A,B,a,t,int16", "row 2, column type: belongs to a register: give its address, number or modicon"),
        (",B,a,t,int16,4", "row 2, column tag: a cell is missing here"),
        ("A/1,B,a,t,int16,4", "row 2, column tag: becomes part of a topic"),
        ("A,B,a,$ag,int16,4", "row 2, column from: unknown; known are a telemetry key"),
        ("A,B,a,t,int16,4,,,,5 min", "row 2, column stale_after: a duration is a number and its unit"),
        ("A,B,a,t,int16,4,,,,,whatever", "row 2, column on_stale: hold, sentinel or a mapping"),
        ("A,B,a,t,int16,4,,,,,{value: 40000}", "row 2, column on_stale: does not fit its register"),
        ("A,B,a,t,int16,4,,,,,,5", "row 2, column range_high: a number is expected"),
        ("A,B,a,t,int16,4,,,,,,5,2", "row 2, column range_low: is [lowest, highest]"),
        ("A,B,a,t,int16,4,,,,,,,,maybe", "row 2, column clamp: true or false is expected"),
        ("A,B,a,t,int16,4,,,,,,,,,x", "row 2, column map: pairs are expected"),
        ("A,B,a,t,int16,4,,,,,,,,,,5m", "row 2, column cov: a number is expected"),
        ("A,B,a,t,int16,4\nC,D,a,t,int16,4", f"row 3, column address: {OVERLAP}"),
        ("A,B,a,t,int16,4\nA,B,a,u,int16,5", "row 3, column from: an earlier row of this point has 't'"),
        ("A,B,a,t,,\nA,B,a,t,,", "row 2: this point has another row, so a register is expected here"),
        ("A,B,a,t,int16,4,,,,,,,,,,,,,x,y", "row 2: there is no heading above cell 19"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_by_row_and_column(row: str, problem: str | None) -> None:
    """A problem has row and column as the spreadsheet shows them, and the value."""
    head = (
        "tag,point,asset,from,type,address,unit,scale,modicon,stale_after,on_stale,range_low,range_high,clamp,map,"
        "cov_every\n"
    )
    if problem is None:
        import_points(read_sheet((head + row).encode()), name="a", site="hq")
    else:
        assert any(line.startswith(problem) for line in problems_of(head + row)), problems_of(head + row)


def test_the_column_that_is_in_the_sheet_is_named() -> None:
    """A problem of an address names the column that the sheet has, such as the 1-based number."""
    by_number = "tag,point,asset,from,type,number\nA,B,a,t,int16,{}\nA,C,a,t,int16,1\n"
    assert problems_of(by_number.format(0)) == ["row 2, column number: must be at least 0 (-1)"]
    overlap = "input register 0 of unit 1 on regs for A/C overlaps A/B at row 2"
    assert problems_of(by_number.format(1)) == [f"row 3, column number: {overlap}"]
    assert problems_of("tag,point,asset,from,type,modicon\nA,B,a,t,int16,30001\nA,C,a,t,int16,30001\n") == [
        f"row 3, column modicon: {overlap}"
    ]


def test_unprintable_headings_are_escaped() -> None:
    """A file that is no sheet cannot send control characters to the terminal."""
    sheet = "tag,point,asset,from,register number,register\x1b no\nA,B,a,t,1,1\n"
    assert problems_of(sheet)[0].startswith('row 1, column "register\\u001b no": means number')


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("", "the file is empty"),
        ("tag,point,asset,from\n", "there is no row below the headings"),
        ("tag,point,asset,from,Tag\n", "row 1, column Tag: this heading is there twice"),
        (
            "asset,from,type\na,t,int16\n",
            "row 1: needs a column `tag`, or rows such as `AHU-1 - Air handling`",
        ),
        ("1,2,3,4\n", "no row of headings is found in the first 50 rows: it needs three columns"),
        ('tag,point,asset,from\nA,"B,a,t\n', "row 2: cannot be read: unexpected end of data"),
        (b"PK\x03\x04...", "the workbook cannot be read: open it in Excel and save it as .xlsx"),
        (b"\xd0\xcf\x11\xe0.", "an old workbook, or one with a password: save it as .xlsx"),
    ],
)
def test_unusable_files_are_explained(sheet: str | bytes, problem: str) -> None:
    """Unknown headings, workbooks and broken files have one message each."""
    assert problems_of(sheet)[0].startswith(problem)


def test_all_mistakes_are_reported_at_once() -> None:
    """All unusable cells are reported in one run."""
    problems = problems_of(f"{MINIMAL}A,B,a,t,int16,x\nA,C,a,t,int16,y\nA,,a,t,int16,4\n")
    assert [problem.partition(":")[0] for problem in problems] == [
        "row 2, column address", "row 3, column address", "row 4, column point",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["1,125", "1.125", "-40.001"])
def test_an_ambiguous_number_is_refused(text: str) -> None:
    """If the decimal mark is unknown, three digits behind a mark may be thousands or decimals."""
    (problem,) = problems_of(f"tag\tpoint\tasset\tfrom\tgain\nA\tB\ta\tt\t{text}\n")
    assert problem.startswith("row 2, column gain: may be a whole number or one with three decimals")


def test_the_registers_of_one_point_do_not_overlap() -> None:
    """Of two rows of one point with overlapping registers, the second has the problem."""
    sheet = "tag,point,asset,from,type,address\nA,B,x,t,uint32,4\nC,D,x,u,int16,9\nA,B,x,t,int16,5\n"
    overlap = "input register 5 of unit 1 on regs for A/B overlaps A/B at row 2"
    assert problems_of(sheet) == [f"row 4, column address: {overlap}"]
