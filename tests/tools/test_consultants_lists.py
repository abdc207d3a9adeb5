"""Point lists as consultants deliver them: titles, sections, merged cells, three languages, any types."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import Workbook
from support.point_tables import load_good_tables
from support.processes import run_gateway

from gateway.errors import ConfigError
from gateway.mapping.registers import parse_type
from gateway.tools import synonyms
from gateway.tools.cell_values import cell_parsers
from gateway.tools.headings import folded_words
from gateway.tools.import_report import understanding_text
from gateway.tools.import_table import import_points
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.model import Point

ENGLISH: list[list[Any]] = [
    ["Smith & Partners: BMS points schedule"],
    ["Project", "HQ Tower", None, None, None, None, "Rev. C"],
    [],
    ["", "", "", "", "Modbus", None, None],
    ["Equipment", "Point name", "Description", "Type", "Data type", "Register address", "Units", "Multiplier",
     "State text", "Remarks"],
    ["AHU-1", "SAT", "Supply air temperature", "AI", "INT16", 30001, "°C", 0.1],
    [None, "RAT", "Return air temperature", "AI", "INT16", 30002, "°C", 0.1, None, "in the duct"],
    [None, "SF-S", "Supply fan", "BI", "UINT", 30003, None, None, "off=0, on=1"],
    ["FCU-2", "ZNT", "Zone temperature", "AI", "REAL", 30010, "°C"],
    [None, "MODE", "Mode", "MI", "WORD", 30012, None, 1, "0: Off / 1: Heating / 2: Cooling"],
    ["Issued by Smith & Partners"],
]  # fmt: skip
GERMAN = """\
Datenpunktliste nach VDI 3814;;;;;;;
Projekt: Hauptverwaltung;;;;;Stand: 12.03.2026;;

Nr.;Benutzeradresse;Klartext;Einheit;Datentyp;Registeradresse;Skalierung;Zustandstexte
;AHU-1 - Luftaufbereitung;;;;;;
1;ZUL_TMP;Zulufttemperatur;°C;INT;40.101;0,1;
2;VEN_BM;Betriebsmeldung Ventilator;-;BOOL;40.102;-;"0=Aus;1=Ein"
;Anlage: HZG01;;;;;;
3;WMZ;Wärmemenge;kWh;UDINT;40.203;1/10;
4;Reserve 1;;;;;;
Legende: BM = Betriebsmeldung;;;;;;;
""".replace("40.", "40")
FRENCH = """\
Liste de points GTB\t\t\t\t\t

Repère\tLibellé\tUnité\tType\tAdresse\tFacteur
CTA1-TS\tTempérature de soufflage\t°C\tRÉEL\t0x10\t
CTA1-HR\tHumidité de reprise\t%\tUINT\t18\t0,01
PAC2-KWH\tÉnergie\tkWh\tULINT\t1\u202f040\t
"""
Place = tuple[str, int, str, float]


def workbook(sheets: dict[str, list[list[Any]]], *, merged: Iterable[str] = ()) -> bytes:
    """Return a workbook with these sheets; `merged` are ranges of the last one."""
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append([*row])
    for cells in merged:
        book.worksheets[-1].merge_cells(cells)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def english() -> bytes:
    """Return the English workbook, whose cells for equipment are merged."""
    sheets: dict[str, list[list[Any]]] = {"Cover": [["BMS"]], "Points": ENGLISH}
    return workbook(sheets, merged=["A1:J1", "E4:G4", "A6:A8", "A9:A10"])


def points_of(data: bytes, folder: Path) -> dict[str, Point]:
    """Return the points of the table made from a list."""
    table = import_points(read_sheet(data), name="list", site="hq").text
    return dict(load_good_tables(folder, table).by_name)


def places(points: dict[str, Point]) -> dict[str, Place]:
    """Return table, address, type and scale of each point's register."""
    found = {}
    for name, point in points.items():
        (register,) = point.registers
        found[name] = register.table.value, register.address, register.type, register.scale
    return found


def problems_of(data: bytes, title: str | None = None) -> list[str]:
    """Return the problems of a list."""
    with pytest.raises(ConfigError) as caught:
        import_points(read_sheet(data, title=title), name="list", site="hq")
    return list(caught.value.problems)


def test_an_english_workbook(tmp_path: Path) -> None:
    """Merged cells for equipment, headings below titles, 3xxxx numbers and state texts become points."""
    points = points_of(english(), tmp_path)
    assert places(points) == {
        "AHU-1/SAT": ("input", 0, "int16", 10),
        "AHU-1/RAT": ("input", 1, "int16", 10),
        "AHU-1/SF-S": ("input", 2, "uint16", 1),
        "FCU-2/ZNT": ("input", 9, "float32", 1),
        "FCU-2/MODE": ("input", 11, "uint16", 1),
    }
    assert points["AHU-1/SF-S"].conversion.map == {"off": 0, "on": 1}
    assert points["FCU-2/MODE"].conversion.map == {"Off": 0, "Heating": 1, "Cooling": 2}
    assert (points["AHU-1/RAT"].unit_of_measure, points["AHU-1/RAT"].description) == (
        "°C",
        "Return air temperature",
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_german_list(encoding: str, tmp_path: Path) -> None:
    """Section rows name the tags, spare rows and legends are skipped, in any encoding that Excel writes."""
    points = points_of(GERMAN.encode(encoding), tmp_path)
    assert places(points) == {
        "AHU-1/ZUL_TMP": ("holding", 100, "int16", 10),
        "AHU-1/VEN_BM": ("holding", 101, "bit", 1),
        "HZG01/WMZ": ("holding", 202, "uint32", 10),
    }
    assert points["AHU-1/VEN_BM"].conversion.map == {"Aus": 0, "Ein": 1}
    assert points["HZG01/WMZ"].description == "Wärmemenge"


def test_a_french_list(tmp_path: Path) -> None:
    """Names with a common separator are tag and point; addresses are hexadecimal or grouped by thousands."""
    points = points_of(FRENCH.encode("utf-16"), tmp_path)
    assert places(points) == {
        "CTA1/TS": ("input", 16, "float32", 1),
        "CTA1/HR": ("input", 18, "uint16", 100),
        "PAC2/KWH": ("input", 1040, "uint64", 1),
    }


def test_types_and_word_orders_in_words(tmp_path: Path) -> None:
    """A list may spell types and word orders out; `little endian`, which has two meanings, is refused."""
    rows: list[list[Any]] = [
        ["Équipement", "Code point", "Type", "Adresse", "Ordre des mots"],
        ["PAC-1", "ENER", "entier non signé 32 bits", 0, "poids fort en premier"],
        ["PAC-1", "PUIS", "flottant", 2, "Low word first"],
    ]
    registers = {
        name: point.registers[0] for name, point in points_of(workbook({"P": rows}), tmp_path).items()
    }
    assert {name: (each.type, each.order.value) for name, each in registers.items()} == {
        "PAC-1/ENER": ("uint32", "ABCD"),
        "PAC-1/PUIS": ("float32", "CDAB"),
    }
    rows[1][4] = "little endian"
    (problem,) = problems_of(workbook({"P": rows}))
    assert "one of ABCD, CDAB, BADC or DCBA is expected" in problem


def test_the_understanding_is_shown() -> None:
    """Each column and each row that is no point is listed, and what stands in for missing columns."""
    assert (
        understanding_text(read_sheet(english()))
        == """\
sheet "Points", headings in row 5, 5 rows with points
  column A      Equipment         tag
  column B      Point name        point
  column D      Type              ignored (`Data type` is used)
  column E      Data type         type
  column F      Register address  modicon (every cell is a number such as 30001)
  column G      Units             unit_of_measure
  column H      Multiplier        scale: the value is the register times this
  column I      State text        map
  column J      Remarks           ignored
  others                          as they are named: description
  rows 7-8, 10  filled            tag from above
  row 11        skipped           no point below: "Issued by Smith & Partners"
  asset         not there         tag stands in
  from          not there         point stands in
"""
    )
    shown = understanding_text(read_sheet(GERMAN.encode()))
    assert "row 5        section          tag AHU-1" in shown
    assert "row 10       skipped          spare" in shown


def test_stand_ins_are_marked_in_the_draft() -> None:
    """A draft of a list without assets and telemetry keys says what to write in their place."""
    table = import_points(read_sheet(FRENCH.encode()), name="list", site="hq").text
    assert "# To do: the sheet names no assets, so `asset` is the tag." in table
    assert "# To do: the sheet names no telemetry keys" in table
    assert "asset: CTA1, from: TS," in table


def test_names_are_not_merged_unseen(tmp_path: Path) -> None:
    """Sections whose tags begin alike stay apart; rows of one name are noted as registers of one point."""
    sheet = 'Point name;Data type;Address\nAHU - North\nT;INT;1\nAHU - South\nT;INT;2\n"T\nx";INT;3\n'
    assert [*points_of(sheet.encode(), tmp_path)] == ["AHU/T", "AHU - South/T", "AHU - South/T x"]
    imported = import_points(read_sheet(f"{sheet}AHU - North\nT;INT;4\n".encode()), name="list", site="hq")
    assert imported.notes == ("rows 3, 8 have one name, so they are registers of one point",)


def test_a_number_is_read_as_a_workbook_has_it() -> None:
    """A number has the value that Excel has; text that may be a thousand or three decimals is refused."""
    rows: list[list[Any]] = [
        ["Equipment", "Point name", "Address", "Type", "Divisor"],
        ["A", "B", 4, "INT", 1.125],
    ]
    (row,) = read_sheet(workbook({"Points": rows})).rows
    assert row.cells["scale"] == 1.125
    rows[1][2] = "2.000"
    assert problems_of(workbook({"Points": rows}))[0].startswith("Points!C2, column address: may be a whole")


def test_sheets_are_chosen_by_name(tmp_path: Path) -> None:
    """Of several sheets with points one must be named; hidden sheets count only then."""
    rows: list[list[Any]] = [["Tag", "Description", "Address"], ["A.1", "x", 4]]
    data = workbook({"East": rows, "West": [*rows, ["B.2", "y", 6]], "Legend": [["AI", "analog input"]]})
    assert problems_of(data) == ['the sheets "East", "West" have points: choose one with --sheet NAME']
    assert problems_of(data, "Wset") == ["--sheet Wset: there is no sheet of this name, did you mean `West`?"]
    assert [row.cells["tag"] for row in read_sheet(data, title="West").rows] == ["A", "B"]
    (tmp_path / "list.xlsx").write_bytes(data)
    done = run_gateway("import", "list.xlsx", "--sheet", "East", "--site", "hq", folder=tmp_path)
    assert done.returncode == 1
    assert "list.xlsx: East!C2, column address: needs `type`" in done.stderr


def test_problems_name_the_cell() -> None:
    """A problem in a workbook has its sheet, cell, heading and value."""
    rows = [["Equipment", "Point name", "Data type", "Register address", "Scaling"]]
    rows += [["A", "1", "INT8", "4", "0.1"], ["A", "2", "INT", "six", "10"]]
    problems = problems_of(workbook({"Points": rows}))
    assert [problem.split(":")[0] for problem in problems] == [
        "Points!D3, column Register address", "Points!E3, column scaling",
    ]  # fmt: skip
    assert "head the column `divisor`" in problems[1]
    assert problems[0].endswith('a number is expected ("six")')
    rows[2] = ["A", "2", "INT", "6", "0.1"]
    (problem,) = problems_of(workbook({"Points": rows}))
    assert problem.startswith("Points!C2, column Data type: a type is one of int16")


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("Point name,Data type,Address\nA.1,INT,40001\nA.2,INT,7\n", "row 1, column Address: 40001 may be a"),
        ("Point name,Type,Address\nA,INT,1\nB,INT,2\n", "row 1: needs a column `tag`, or rows such as"),
        (
            "Point name,Signal name,Address,Type\nA,B,1,INT\n",
            "row 1, column Signal name: means point, as `Point name`",
        ),
        (
            "Equipment,Point name,State text\nA,B,off/on\n",
            "row 2, column State text: pairs of different words",
        ),
        ("Equipment,Point name,Address,Multiplier\nA,B,1,0\n", "row 2, column multiplier: must not be 0"),
        (
            "Equipment,Point name,Address,Scaling\nA,B,1,0-10 V\n",
            "row 2, column scaling: a factor such as",
        ),
        ("Equipment,Point name,Address,FC\nA,B,1,3/4\n", "row 2, column FC: function codes of one register"),
        ("tag,point,asset,from,address\nA,B,a,t,40001\n", "row 1, column address: 40001 may be a 3xxxx"),
        (
            "Equipment,Point name,Multiplier,Divisor\nA,B,0.1,10\n",
            "row 2, column multiplier: the row has",
        ),
    ],
)
def test_unclear_lists_are_refused(sheet: str, problem: str) -> None:
    """Nothing is guessed where a wrong guess would be a wrong value: addresses, scales, names, states."""
    assert problems_of(sheet.encode())[0].startswith(problem)


def test_unknown_columns_are_noted() -> None:
    """A column of an unknown or unspecific heading is listed as ignored, with a suggestion if possible."""
    sheet = b"Equipment,Point name,Address,Offset,Multiplyer,Price\nA,B,1,0,1,9\n"
    shown = understanding_text(read_sheet(sheet))
    assert "ignored (means several things; if it is offset, head it `reading offset`)" in shown
    assert "ignored (did you mean multiplier?)" in shown
    assert re.search(r"column F +Price +ignored\n", shown)


def test_a_column_of_units_is_no_unit_id(tmp_path: Path) -> None:
    """A heading `Unit` above units of measure means these, above numbers the unit ids of Modbus."""
    for unit, expected in (("kW", ("kW", 1)), ("7", (None, 7))):
        sheet = f"Equipment,Point name,Address,Type,Unit\nA,B,1,INT,{unit}\n"
        point = points_of(sheet.encode(), tmp_path)["A/B"]
        assert (point.unit_of_measure, point.registers[0].unit) == expected


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("gain", "1.234,5", 1234.5), ("gain", "1,234.5", 1234.5), ("gain", "1'234.5", 1234.5),
        ("gain", "1.000.000", 1000000), ("gain", "-0,5", -0.5), ("gain", "12\N{NO-BREAK SPACE}000", 12000),
        ("address", "0x1F", 31), ("address", "3,0", 3),
        ("multiplier", "x 0,01", 100), ("multiplier", "/10", 10), ("multiplier", "1/1000", 1000),
        ("multiplier", "10", 0.1), ("multiplier", "0.05", 20), ("scaling", "1", 1), ("scaling", "1:10", 10),
        ("states", "1=Aus 2=Ein", {"Aus": 1, "Ein": 2}), ("states", "0 - Off\n1 - On", {"Off": 0, "On": 1}),
        ("states", "0=Hand/Auto, 1=Aus", {"Hand/Auto": 0, "Aus": 1}),
        ("map", "on = 1; off = 0", {"on": 1, "off": 0}),
        ("function", "FC03/FC16", "holding"), ("function", "04", "input"),
        ("table", "Input Register", "input"),
        ("type", "Unsigned 32-bit", "uint32"), ("type", "string(15)", "string(15)"),
        ("type", "booléen", "bit"),
    ],
)  # fmt: skip
def test_cells_are_read_as_people_write_them(column: str, cell: str, value: object) -> None:
    """Numbers of any country, factors, state texts, function codes and types are understood."""
    assert cell_parsers(None)[column](cell) == value


@pytest.mark.parametrize(
    ("iec", "type_name"),
    [
        ("BOOL", "bit"), ("INT", "int16"), ("UINT", "uint16"), ("WORD", "uint16"), ("DINT", "int32"),
        ("UDINT", "uint32"), ("DWORD", "uint32"), ("LINT", "int64"), ("ULINT", "uint64"), ("REAL", "float32"),
        ("LREAL", "float64"),
    ],
)  # fmt: skip
def test_types_of_iec_61131(iec: str, type_name: str) -> None:
    """The elementary types of IEC 61131-3 are register types."""
    assert cell_parsers(None)["type"](iec) == type_name


def test_no_word_means_two_things() -> None:
    """Each word of the tables of synonyms stands in one row, and each type in it exists."""
    headings = [word for lines in synonyms.HEADINGS.values() for word in folded_words(lines)]
    headings += [word for lines in synonyms.UNSPECIFIC.values() for word in folded_words(lines)]
    for table in (synonyms.TYPES, synonyms.TABLES):
        words = [word for line in table.values() for word in folded_words([line])]
        assert len(words) == len(set(words))
    assert sorted(headings) == sorted(set(headings))
    for name in synonyms.TYPES:
        parse_type(name)


def test_hostile_workbooks_are_refused() -> None:
    """Sheets that would fill the memory are refused in seconds: zeros packed a thousandfold, a vast merge."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(100 << 20))
    assert "the workbook is too large" in problems_of(packed.getvalue())[0]
    vast = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook({"Points": ENGLISH}, merged=["A1:C1"]))) as plain,
        zipfile.ZipFile(vast, "w") as archive,
    ):
        for part in plain.namelist():
            archive.writestr(part, plain.read(part).replace(b"A1:C1", b"A1:XFD1048576"))
    assert "the workbook is too large" in problems_of(vast.getvalue())[0]
    assert problems_of(english()[:2000])[0].startswith("the workbook cannot be read: open it in Excel")


def test_distant_cells_do_no_harm() -> None:
    """A format far below and right of the points costs nothing, text there is refused."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in ENGLISH:
        sheet.append(row)
    sheet["XFD1048576"].number_format = "0.00"
    written = io.BytesIO()
    book.save(written)
    assert len(read_sheet(written.getvalue()).rows) == 5
    sheet["A1048576"] = "x"
    book.save(written)
    assert problems_of(written.getvalue())[0].startswith("sheet Sheet has more than 20000 rows")


def test_csv_needs_no_library_for_workbooks(tmp_path: Path) -> None:
    """The library that reads workbooks is loaded for workbooks only."""
    (tmp_path / "list.csv").write_text(FRENCH, encoding="utf-8")
    program = (
        "import sys; from gateway.__main__ import main; code = main();"
        "sys.exit(code or 'openpyxl' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "import", "list.csv", "--site", "hq"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
