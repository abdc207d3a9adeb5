"""Spreadsheets as integrators have them, and what they are reported about mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import load_good_tables

from gateway.errors import ConfigError
from gateway.tools.import_table import import_points

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Point

OVERLAP = "input register 4 of unit 1 on regs for C/D overlaps A/B at row 2"
MINIMAL = "tag,point,asset,from,type,address\n"


def imported(folder: Path, sheet: str | bytes, site: str | None = "hq") -> dict[str, Point]:
    """Return the points of the table that is made of a sheet, by name."""
    data = sheet.encode() if isinstance(sheet, str) else sheet
    return dict(load_good_tables(folder, import_points(data, name="a.csv", site=site).text).by_name)


def refused(sheet: str | bytes, site: str | None = "hq") -> list[str]:
    """Return what there is to say against a sheet."""
    data = sheet.encode() if isinstance(sheet, str) else sheet
    with pytest.raises(ConfigError) as caught:
        import_points(data, name="a.csv", site=site)
    return list(caught.value.problems)


def place(point: Point) -> tuple[str, str, int, str]:
    """Return where the point's only register is."""
    (register,) = point.registers
    return register.sink, register.table.value, register.address, register.type


def test_a_few_columns_are_enough(tmp_path: Path) -> None:
    """Tag, point, asset, reading, type and an address make a point; what is assumed is said."""
    sheet = f"{MINIMAL}CH-1,CHWS-T,ast-1,supply,int16,40\n"
    points = imported(tmp_path, sheet)
    assert place(points["CH-1/CHWS-T"]) == ("regs", "input", 40, "int16")
    assert import_points(sheet.encode(), name="a.csv", site="hq").notes == (
        "there is no column sink: the Modbus sink is called regs in the table",
        "there is no column table: all registers are input registers",
    )


def test_modicon_numbers_are_enough_too(tmp_path: Path) -> None:
    """A modicon number says the table as well, also where the spreadsheet has dropped leading zeros."""
    sheet = (
        "tag,point,asset,from,type,modicon,table\nA,1,a,t,int16,40011,\nA,2,a,t,,1,\nA,3,a,t,bit,10001,coil\n"
    )
    points = imported(tmp_path, sheet)
    assert [place(points[f"A/{number}"])[1:3] for number in (1, 2, 3)] == [
        ("holding", 10), ("coil", 0), ("coil", 10000),
    ]  # fmt: skip


def test_no_register_at_all(tmp_path: Path) -> None:
    """A point without any address is on MQTT only."""
    points = imported(tmp_path, "tag,point,asset,from\nA,B,a,t\n")
    assert points["A/B"].registers == ()


def test_the_table_is_pleasant_to_read() -> None:
    """What points share stands under `defaults`, points of a tag stand together, and no value is lost."""
    sheet = (
        "tag,point,asset,from,type,address,table,unit,order,stale_after,unit_of_measure,description,site\n"
        'M-1,KWH,a,e,uint32,0,holding,3,CDAB,24h,kWh,"yes: counter, no 5",s1\n'
        "M-1,KW,a,p,float32,2,holding,3,CDAB,24h,kW,,s1\n"
        "M-1,SN,a,s,string(8),10,input,3,,never,,no,s1\n"
    )
    assert import_points(sheet.encode(), name="m.csv").text.partition("again.\n")[2] == (
        "\n"
        "schema: gateway.points/1\n"
        "site: s1\n"
        "\n"
        "defaults:\n"
        "  stale_after: 24h\n"
        "  on_stale: sentinel\n"
        "  modbus: {to: regs, unit: 3, table: holding, order: CDAB}\n"
        "\n"
        "points:\n"
        "  # M-1\n"
        '  - {tag: M-1, point: KWH, asset: a, from: e, unit: kWh, description: "yes: counter, no 5",\n'
        "     modbus: {register: 0, type: uint32}}\n"
        "  - {tag: M-1, point: KW, asset: a, from: p, unit: kW, modbus: {register: 2, type: float32}}\n"
        '  - {tag: M-1, point: SN, asset: a, from: s, description: "no", stale_after: never,\n'
        "     modbus: {table: input, register: 10, type: string(8)}}\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        "tag,point,asset,from,type,address,gain\r\nA,B,a,t,int16,4,0.5\r\n".encode("utf-8-sig"),
        b"sep=;\r\ntag;point;asset;from;type;address;gain\r\nA;B;a;t;int16;4;0,5\r\n",
        "tag\tpoint\tasset\tfrom\ttype\taddress\tgain\r\nA\tB\ta\tt\tint16\t4\t0,5\r\n".encode("utf-16"),
        b"\n Gain ;FROM;Type ;TAG;point;ASSET;Address;;\n\n0,5;t;INT16;A;B;a;4;;\n;;;;;;;;\n",
        b'tag,point,asset,from,type,address,gain\nA,B,a,t,int16,4,"0,5"\n',
        b"tag,point,asset,from,type,number,gain\nA,B,a,t,int16,5.0,+5e-1\n",
    ],
    ids=["utf-8 with mark", "sep=;", "unicode text", "any order and case", "quoted comma", "as Excel counts"],
)
def test_a_spreadsheet_reads_well(data: bytes, tmp_path: Path) -> None:
    """Encoding, separator, decimal mark, order of columns, empty rows and columns: all are understood."""
    point = imported(tmp_path, data)["A/B"]
    assert place(point) == ("regs", "input", 4, "int16")
    assert point.conversion.gain == 0.5


def test_text_of_an_old_windows_is_read_with_a_note() -> None:
    """A file that is not UTF-8 is taken for Windows-1252, and that is said."""
    made = import_points(
        "tag,point,asset,from,unit_of_measure\nA,B,a,t,°C\n".encode("cp1252"), name="a", site="s"
    )
    assert "unit: °C" in made.text
    assert "Windows-1252" in made.notes[0]


def test_words_of_other_languages(tmp_path: Path) -> None:
    """Yes and no are understood as spreadsheets write them; pairs go by comma or line."""
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
    """A second row of a point is another register of it; what it leaves empty the first row says."""
    sheet = f"{MINIMAL[:-1]},table,unit_of_measure\nA,B,a,t,int16,4,input,degC\nA,B,,,,7,coil,\n"
    assert "row 3, column asset" in refused(sheet.replace("A,B,a", "A,C,a"))[0]
    point = imported(tmp_path, sheet)["A/B"]
    assert [(register.table.value, register.address) for register in point.registers] == [
        ("input", 4),
        ("coil", 7),
    ]


def test_quotes_against_formulas_are_taken_off(tmp_path: Path) -> None:
    """The ' that keeps text from becoming a formula is no part of the text; any other ' is."""
    sheet = "tag,point,asset,from,description\n'-A,'B,a,'=t,'''=x\n"
    point = imported(tmp_path, sheet)["-A/'B"]
    assert (point.source, point.description) == ("=t", "''=x")


def test_the_gateways_own_readings(tmp_path: Path) -> None:
    """Age and quality come with their rows; the heartbeat's row makes the heartbeat, 10 s by default."""
    sheet = f"{MINIMAL[:-1]},every\nA,AGE,a,$age,uint32,4,\nA,Q,a,$quality,uint16,6,\n"
    sheet += ",,,$heartbeat,uint16,0,30s\n"
    points = imported(tmp_path, sheet)
    assert sorted(points) == ["$gateway/heartbeat", "A/AGE", "A/Q"]
    assert "every: 30s" in import_points(sheet.encode(), name="a", site="hq").text
    assert "every: 10s" in import_points(sheet.replace("30s", "").encode(), name="a", site="hq").text


def test_one_site_of_several_is_chosen() -> None:
    """A table has one site: `--site` chooses it, and says how much is left out."""
    sheet = "tag,point,asset,from,site\nA,1,a,t,s1\nA,2,a,t,s2\nA,3,a,t,\n"
    assert refused(sheet, None) == [
        "there are rows of 2 sites, a table has one: choose it with --site, one of s1, s2"
    ]
    made = import_points(sheet.encode(), name="a", site="s2")
    assert (made.points, made.notes) == (2, ("1 points of other sites are left out",))
    assert refused("tag,point,asset,from\nA,1,a,t\n", None) == [
        "the site is not known: add a column `site`, or say --site NAME"
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("A,B,a,t,int17,4", "row 2, column type: a type is one of int16"),
        ("A,B,a,t,int16,4,,3000", None),
        ("A,B,a,t,int16,70000", "row 2, column address: must be at most 65535 (70000)"),
        ("A,B,a,t,int16,4.5", 'row 2, column address: a whole number is expected ("4.5")'),
        ("A,B,a,t,int16,4,degC", "row 2, column unit: a Modbus unit id (0 to 255) is expected"),
        ('A,B,a,t,int16,4,,"1,000"', "row 2, column scale: may be a whole number"),
        ("A,B,a,t,int16,4,,1.125.000", "row 2, column scale: may be a whole number"),
        ("A,B,a,t,int16,4,,03. Mai", "row 2, column scale: the spreadsheet has made a date of it"),
        ("A,B,a,t,int16,4,,2026-05-03 00:00:00", "row 2, column scale: the spreadsheet has made a date"),
        ("A,B,a,t,int16,4,,5/3", "row 2, column scale: the spreadsheet has made a date"),
        ("A,B,a,t,int16,#REF!", "row 2, column address: the spreadsheet could not compute or show this cell"),
        ("A,B,a,t,int16,4,,,31001", "row 2, column modicon: is PDU address 1000, but column address says 4"),
        ("A,B,a,t,int16,,,,41", "row 2, column type: a coil has the type bit"),
        ("A,B,a,t,int16,,,,5", "row 2, column type: a coil has the type bit"),
        ("A,B,a,t,int16", "row 2, column type: belongs to a register: give its address, number or modicon"),
        (",B,a,t,int16,4", "row 2, column tag: a cell is missing here"),
        ("A/1,B,a,t,int16,4", "row 2, column tag: becomes part of a topic"),
        ("A,B,a,$ag,int16,4", "row 2, column from: unknown; known are a telemetry key"),
        ("A,B,a,t,int16,4,,,,5 min", "row 2, column stale_after: a duration is a number and its unit"),
        ("A,B,a,t,int16,4,,,,,whatever", "row 2, column on_stale: hold, sentinel or a value"),
        ("A,B,a,t,int16,4,,,,,{value: 40000}", "row 2, column on_stale: does not fit its register"),
        ("A,B,a,t,int16,4,,,,,,5", "row 2, column range_high: is missing: a range has two ends"),
        ("A,B,a,t,int16,4,,,,,,5,2", "row 2, column range_low: is [lowest, highest]"),
        ("A,B,a,t,int16,4,,,,,,,,maybe", "row 2, column clamp: true or false is expected"),
        ("A,B,a,t,int16,4,,,,,,,,,x", "row 2, column map: pairs are expected"),
        ("A,B,a,t,int16,4,,,,,,,,,,5m", "row 2, column cov_every: goes with column cov, which is empty here"),
        ("A,B,a,t,int16,4\nC,D,a,t,int16,4", f"row 3, column address: {OVERLAP}"),
        ("A,B,a,t,int16,4\nA,B,a,u,int16,5", "row 3, column from: row 2 says 't' for the same point (\"u\")"),
        ("A,B,a,t,,\nA,B,a,t,,", "row 2: row 3 is about the same point, so a register is expected here"),
        ("A,B,a,t,int16,4,,,,,,,,,,,,,x,y", "row 2: the cell in column number 19 has no heading"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_by_row_and_column(row: str, problem: str | None) -> None:
    """What is wrong is said with row and column as the spreadsheet shows them, and the value."""
    head = (
        "tag,point,asset,from,type,address,unit,scale,modicon,stale_after,on_stale,range_low,range_high,clamp,map,"
        "cov_every\n"
    )
    if problem is None:
        import_points((head + row).encode(), name="a", site="hq")
    else:
        assert any(line.startswith(problem) for line in refused(head + row)), refused(head + row)


def test_the_column_that_is_in_the_sheet_is_named() -> None:
    """Where a sheet counts from 1 or has modicon numbers, mistakes are reported in that column."""
    by_number = "tag,point,asset,from,type,number\nA,B,a,t,int16,{}\nA,C,a,t,int16,1\n"
    assert refused(by_number.format(0)) == [
        'row 2, column number: counts from 1; a 0-based number belongs to column address ("0")'
    ]
    overlap = "input register 0 of unit 1 on regs for A/C overlaps A/B at row 2"
    assert refused(by_number.format(1)) == [f"row 3, column number: {overlap}"]
    assert refused("tag,point,asset,from,type,modicon\nA,B,a,t,int16,30001\nA,C,a,t,int16,30001\n") == [
        f"row 3, column modicon: {overlap}"
    ]


def test_a_file_that_is_no_sheet_disturbs_no_terminal() -> None:
    """Headings that cannot be printed are shown escaped."""
    assert refused(b"\x1b[2J\x07,tag\n1,2\n")[0].startswith(
        'row 1, column "\\u001b[2j\\u0007": unknown column'
    )


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("", "the file is empty"),
        ("tag,point,asset,from\n", "there is no row below the headings"),
        ("tag,point,asset,form\nA,B,a,t\n", "row 1, column form: unknown column, did you mean `from`?"),
        (
            "tag,point,asset,from,register\n",
            "row 1, column register: unknown column, it is called address (0-based",
        ),
        ("tag,point,asset,from,Tag\n", "row 1, column tag: this heading is there twice"),
        ("tag,point,asset\n", "row 1: needs the columns from"),
        ("1,2,3,4\n", "row 1, column 1: unknown column; known: tag, point"),
        ('tag,point,asset,from\nA,"B,a,t\n', "row 2: cannot be read: unexpected end of data"),
        (b"PK\x03\x04...", "this is a workbook, not CSV: save the sheet as `CSV UTF-8`"),
        (b"\xff\xfea", "the file is cut short"),
    ],
)
def test_unusable_files_are_explained(sheet: str | bytes, problem: str) -> None:
    """Headings that cannot be used, workbooks and broken files are reported plainly."""
    assert refused(sheet)[0].startswith(problem)


def test_all_mistakes_are_reported_at_once() -> None:
    """Every cell that cannot be read is reported in one run."""
    problems = refused(f"{MINIMAL}A,B,a,t,int16,x\nA,C,a,t,int16,y\n,D,a,t,int16,4\n")
    assert [problem.partition(":")[0] for problem in problems] == [
        "row 2, column address", "row 3, column address", "row 4, column tag",
    ]  # fmt: skip


def test_names_that_a_spreadsheet_may_have_changed_are_noted() -> None:
    """A tag that looks like a date and an id that looks rounded are used, and remarked upon."""
    made = import_points(b"tag,point,asset,from\n01. Mrz,B,1.23E+11,t\n", name="a", site="hq")
    assert [note.partition(";")[0] for note in made.notes] == [
        "row 2, column tag: looks like a date",
        "row 2, column asset: looks like a rounded number",
    ]


@pytest.mark.parametrize("text", ["1,125", "1.125", "1,000,000"])
def test_thousands_need_to_be_known(text: str) -> None:
    """If the decimal mark is unknown, three digits behind a mark are refused with their cell."""
    (problem,) = refused(f"tag\tpoint\tasset\tfrom\tgain\nA\tB\ta\tt\t{text}\n")
    assert problem.startswith("row 2, column gain: may be a whole number or one with three decimals")


@pytest.mark.parametrize(("other", "gain"), [("0,5", "1,125"), ("0.5", "1.125")])
def test_another_number_decides_the_decimal_mark(other: str, gain: str, tmp_path: Path) -> None:
    """One number beyond doubt says how all numbers of the file are written."""
    points = imported(tmp_path, f"tag\tpoint\tasset\tfrom\tgain\toffset\nA\tB\ta\tt\t{gain}\t{other}\n")
    assert points["A/B"].conversion.gain == 1.125
