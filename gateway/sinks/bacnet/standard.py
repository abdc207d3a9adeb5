"""Numbers of ANSI/ASHRAE 135 that the server uses: services, properties, errors (clause 21)."""

from __future__ import annotations

from enum import IntEnum

ANY_INSTANCE = 4_194_303
"""The instance that stands for any device (clause 12.11.1)."""
ALL_NETWORKS = 0xFFFF
SEGMENTED_TRANSMIT = 1
"""Of BACnetSegmentation: answers may come in segments, requests may not."""


class ObjectKind(IntEnum):
    """Object types that are no points."""

    DEVICE = 8


class ConfirmedService(IntEnum):
    """Services that are answered."""

    CONFIRMED_COV_NOTIFICATION = 1
    SUBSCRIBE_COV = 5
    READ_PROPERTY = 12
    READ_PROPERTY_MULTIPLE = 14
    WRITE_PROPERTY = 15
    WRITE_PROPERTY_MULTIPLE = 16


class UnconfirmedService(IntEnum):
    """Services without an answer of their own."""

    I_AM = 0
    I_HAVE = 1
    UNCONFIRMED_COV_NOTIFICATION = 2
    WHO_HAS = 7
    WHO_IS = 8


class Property(IntEnum):
    """Property identifiers."""

    ACTIVE_TEXT = 4
    ALL = 8
    APDU_SEGMENT_TIMEOUT = 10
    APDU_TIMEOUT = 11
    APPLICATION_SOFTWARE_VERSION = 12
    COV_INCREMENT = 22
    DESCRIPTION = 28
    DEVICE_ADDRESS_BINDING = 30
    EVENT_STATE = 36
    FIRMWARE_REVISION = 44
    INACTIVE_TEXT = 46
    MAX_APDU_LENGTH_ACCEPTED = 62
    MODEL_NAME = 70
    NUMBER_OF_APDU_RETRIES = 73
    NUMBER_OF_STATES = 74
    OBJECT_IDENTIFIER = 75
    OBJECT_LIST = 76
    OBJECT_NAME = 77
    OBJECT_TYPE = 79
    OPTIONAL = 80
    OUT_OF_SERVICE = 81
    POLARITY = 84
    PRESENT_VALUE = 85
    PROTOCOL_OBJECT_TYPES_SUPPORTED = 96
    PROTOCOL_SERVICES_SUPPORTED = 97
    PROTOCOL_VERSION = 98
    RELIABILITY = 103
    REQUIRED = 105
    SEGMENTATION_SUPPORTED = 107
    STATE_TEXT = 110
    STATUS_FLAGS = 111
    SYSTEM_STATUS = 112
    UNITS = 117
    VENDOR_IDENTIFIER = 120
    VENDOR_NAME = 121
    PROTOCOL_REVISION = 139
    ACTIVE_COV_SUBSCRIPTIONS = 152
    DATABASE_REVISION = 155
    MAX_SEGMENTS_ACCEPTED = 167
    PROPERTY_LIST = 371


class ErrorClass(IntEnum):
    """What an error is about."""

    OBJECT = 1
    PROPERTY = 2
    RESOURCES = 3


class ErrorCode(IntEnum):
    """Why a request failed."""

    NO_SPACE_TO_ADD_LIST_ELEMENT = 19
    UNKNOWN_OBJECT = 31
    UNKNOWN_PROPERTY = 32
    WRITE_ACCESS_DENIED = 40
    INVALID_ARRAY_INDEX = 42
    OPTIONAL_FUNCTIONALITY_NOT_SUPPORTED = 45
    PROPERTY_IS_NOT_AN_ARRAY = 50
    UNKNOWN_SUBSCRIPTION = 79


class RejectReason(IntEnum):
    """Why a request cannot be understood."""

    INVALID_PARAMETER_DATA_TYPE = 3
    INVALID_TAG = 4
    MISSING_REQUIRED_PARAMETER = 5
    PARAMETER_OUT_OF_RANGE = 6
    TOO_MANY_ARGUMENTS = 7
    UNRECOGNIZED_SERVICE = 9


class AbortReason(IntEnum):
    """Why a transaction ends without an answer."""

    BUFFER_OVERFLOW = 1
    SEGMENTATION_NOT_SUPPORTED = 4
    OUT_OF_RESOURCES = 9
