"""The words of point lists in English, German and French, and what `gateway import` reads them as.

To teach it a word, add the word to its row. Capitals, accents, spaces and punctuation make no difference:
`Register-Adresse` and `registeradresse` are one word.
"""

from __future__ import annotations

HEADINGS = {  # column of `gateway points --format csv`: English, German, French headings that mean only this
    "tag": (
        "equipment, equipment tag, equipment name, equipment id, plant, asset tag",
        "Anlage, Anlagenkennzeichen, Anlagenname, Anlagenkürzel, Teilanlage",
        "équipement, nom de l'équipement, installation, ouvrage",
    ),
    "point": (
        "point name, point tag, point id, tag name, signal name, data point, object name, user address",
        (
            "Benutzeradresse, BAS, BMK, AKS, Datenpunkt, Datenpunktname, "
            "Datenpunktadresse, Datenpunkt-ID, Signalname"
        ),
        "repère, repère du point, nom du point, code point, code du point, mnémonique, point de données",
    ),
    "description": (
        "point description, long name, plain text",
        "Klartext, Klartextbezeichnung, Datenpunktbeschreibung, Datenpunktbezeichnung",
        "libellé, libellé du point, désignation",
    ),
    "unit_of_measure": (
        "units, engineering unit, engineering units, eng unit, eng units, EU, UoM, unit of measurement",
        "Einheit, Maßeinheit, Masseinheit, physikalische Einheit, phys. Einheit",
        "unité, unités, unité de mesure, unité physique",
    ),
    "source_unit": ("sensor unit", "Sensoreinheit", "unité du capteur"),
    "asset": (
        "asset id, Infodeck id, Infodeck asset, Infodeck asset id",
        "Infodeck-Asset-ID, Infodeck-Gerät",
        "identifiant Infodeck, actif Infodeck",
    ),
    "from": (
        "telemetry key, Infodeck key",
        "Telemetrie-Schlüssel, Infodeck-Schlüssel",
        "clé de télémétrie, clé Infodeck",
    ),
    "site": ("site name", "Standort, Liegenschaft", "nom du site"),
    "sink": ("gateway sink", "Gateway-Ausgang", "sortie de la passerelle"),
    "unit": (
        "unit id, slave, slave id, slave address, slave no, Modbus id, Modbus unit, station address",
        "Slave-Adresse, Slave-Nr., Geräteadresse, Modbus-Geräteadresse, Teilnehmeradresse, Busadresse",
        "esclave, numéro d'esclave, n° esclave, adresse esclave, adresse de l'esclave",
    ),
    "table": (
        "register type, register table, object table",
        "Registerart, Registertyp, Registerbereich",
        "type de registre, zone mémoire",
    ),
    "function": (
        "function code, Modbus function, FC",
        "Funktionscode, Modbus-Funktion",
        "code fonction, code de fonction, fonction Modbus",
    ),
    "address": (
        "PDU address, address 0-based, 0-based address, zero-based address",
        "PDU-Adresse, Adresse 0-basiert, Adresse ab 0",
        "adresse PDU, adresse base 0",
    ),
    "number": (
        "register number, register no, address 1-based, 1-based address",
        "Registernummer, Register-Nr., Adresse 1-basiert, Adresse ab 1",
        "numéro de registre, n° de registre, n° registre, adresse base 1",
    ),
    "modicon": (
        "Modicon address, PLC address, 4xxxx, 3xxxx",
        "Modicon-Adresse, SPS-Adresse",
        "adresse Modicon, adresse automate",
    ),
    "type": (
        "data type, datatype, value type, data format, register format",
        "Datentyp, Datenformat",
        "type de donnée, type de données, format de donnée, format des données",
    ),
    "order": (
        "byte order, word order, endianness",
        "Bytereihenfolge, Byte-Reihenfolge, Wortreihenfolge",
        "ordre des octets, ordre des mots, boutisme",
    ),
    "bit": (
        "bit number, bit no, bit position",
        "Bitnummer, Bit-Nr., Bitposition",
        "numéro de bit, n° de bit",
    ),
    "scale": (  # register = value x this
        "divisor, divide by, register = value x",
        "Divisor, Teiler, Register = Wert x",
        "diviseur, registre = valeur x",
    ),
    "multiplier": (  # value = register x this
        "multiplier, multiply by, resolution, value = register x",
        "Multiplikator, Auflösung, Wert = Register x",
        "multiplicateur, résolution, valeur = registre x",
    ),
    "scaling": (  # may be either: understood where it is at most 1
        "scale factor, scaling, scaling factor, factor",
        "Skalierung, Skalierungsfaktor, Faktor, Umrechnungsfaktor",
        "facteur, facteur d'échelle, échelle, mise à l'échelle, coefficient",
    ),
    "states": (
        "state text, state texts, states, enumeration, enum",
        "Zustandstext, Zustandstexte, Zustände, Meldetexte",
        "états, texte d'état, textes d'état, libellés d'état, énumération",
    ),
    "map": ("value map", "Wertezuordnung", "table de valeurs"),
    "range_low": (
        "range min, range from, measuring range min",
        "Messbereich min, Messbereich von, Messbereichsanfang",
        "étendue min, étendue de mesure min, début d'échelle",
    ),
    "range_high": (
        "range max, range to, measuring range max",
        "Messbereich max, Messbereich bis, Messbereichsende",
        "étendue max, étendue de mesure max, fin d'échelle",
    ),
    "bits": ("reading bits", "Messwert-Bits", "bits de la mesure"),
    "gain": ("reading gain", "Messwertfaktor", "gain de la mesure"),
    "offset": ("reading offset", "Messwert-Offset", "décalage de la mesure"),
    "decimals": ("rounded to decimals", "gerundet auf Nachkommastellen", "arrondi à décimales"),
    "object_type": ("BACnet object type", "BACnet-Objekttyp", "type d'objet BACnet"),
    "object_instance": (
        "BACnet instance, BACnet object instance",
        "BACnet-Instanz, BACnet-Objektinstanz",
        "instance BACnet, instance d'objet BACnet",
    ),
    "cov": ("deadband, COV increment", "COV-Inkrement, Totband", "bande morte, incrément COV"),
}

UNSPECIFIC = {  # columns that these headings may mean, where no other heading means them: the first free one
    ("tag", "point"): ("tag", "", ""),
    ("tag",): ("device, system, unit tag", "Gerät, System", "appareil, système"),
    ("point",): ("name, signal, variable, object", "Signal, Adressschlüssel, Objekt", "nom, variable, objet"),
    ("description",): (
        "description, point text, text",
        "Beschreibung, Bezeichnung, Text, Funktion",
        "description, intitulé, texte",
    ),
    ("unit", "unit_of_measure"): ("unit", "", ""),
    ("type",): ("type, format", "Typ, Format", "type, format"),
    ("address",): (
        "address, register, register address, Modbus address, Modbus register, Modbus reg, reg",
        "Adresse, Register, Registeradresse, Modbus-Adresse, Modbus-Register",
        "adresse, registre, adresse Modbus, registre Modbus, adresse registre, adresse du registre",
    ),
    ("scaling",): ("scale", "", ""),
}

OWN_ONLY = frozenset(
    {"number", "scale", "bits", "gain", "offset", "decimals", "words", "object_type", "object_instance"}
)
"""Our columns whose names mean something else in other lists: running number, direction of scaling, …"""

TYPES = {
    "bit": "bool, boolean, bit, binary, binär, booléen, logique",
    "int16": "int, sint16, s16, i16, short, signed 16, signed 16 bit, 16 bit signed, int16s, "
    "16 Bit mit Vorzeichen, signé 16 bits, entier signé 16 bits",
    "uint16": "uint, word, u16, ushort, unsigned 16, unsigned 16 bit, 16 bit unsigned, mot, "
    "16 Bit ohne Vorzeichen, non signé 16 bits, entier non signé 16 bits",
    "int32": "dint, sint32, s32, i32, long, signed 32, signed 32 bit, 32 bit signed, double int, "
    "32 Bit mit Vorzeichen, signé 32 bits, entier signé 32 bits",
    "uint32": "udint, dword, u32, ulong, unsigned 32, unsigned 32 bit, 32 bit unsigned, double mot, "
    "32 Bit ohne Vorzeichen, non signé 32 bits, entier non signé 32 bits",
    "int64": "lint, sint64, s64, i64, signed 64, signed 64 bit, 64 bit signed",
    "uint64": "ulint, lword, u64, unsigned 64, unsigned 64 bit, 64 bit unsigned",
    "float32": "real, float, single, f32, float 32 bit, 32 bit float, IEEE 754, réel, Gleitkomma, flottant",
    "float64": "lreal, double, f64, float 64 bit, 64 bit float, réel double",
}
"""Register types: those of IEC 61131-3 and as vendors write them. An `integer` of unknown width is none."""

ORDERS = {
    "ABCD": "big endian, high word first, MSW first, MSB first, high-low, höherwertiges Wort zuerst, "
    "poids fort en premier, mot de poids fort en premier",
    "CDAB": "low word first, LSW first, word swap, word swapped, swapped words, niederwertiges Wort zuerst, "
    "poids faible en premier, mot de poids faible en premier",
}
"""Orders of the words of a value. `little endian` is none: some mean CDAB by it, others DCBA."""

TABLES = {
    "holding": "holding register, holding registers, HR, 4x, 4xxxx, Halteregister, Holding-Register, "
    "registre de maintien, registres de maintien",
    "input": "input register, input registers, IR, 3x, 3xxxx, Eingangsregister, Input-Register, "
    "registre d'entrée, registres d'entrée",
    "coil": "coils, 0x, 0xxxx, Spule, Spulen, bobine, bobines",
    "discrete": "discrete input, discrete inputs, 1x, 1xxxx, diskreter Eingang, "
    "entrée discrète, entrées discrètes",
}
"""Register tables."""

FUNCTIONS = {"holding": (3, 6, 16, 22, 23), "input": (4,), "coil": (1, 5, 15), "discrete": (2,)}
"""Modbus function codes that read or write each table."""

OBJECT_TYPES = {
    "analog-input": "analog-input, AI",
    "binary-input": "binary-input, BI",
    "multi-state-input": "multi-state-input, MI, MSI",
    "characterstring-value": "characterstring-value, CSV",
    "large-analog-value": "large-analog-value, LAV",
}
"""The BACnet object types that a point can be."""

POINT_KINDS = (
    "AI, AO, AV, AE, AA, BI, BO, BV, BE, BA, DI, DO, DV, MI, MO, MV, MSI, MSV, TOR, TM, TS, TC, TR, ZW"
)
"""Kinds of points, which a column `Type` often has in place of register types."""

SPARE = "reserve, spare, réserve, frei, libre, n/a"
"""Names of points that are not there."""
