"""Properties of moist air from temperature in degC and relative humidity in percent.

All raise ValueError outside -45 to 60 degC and 0 to 100 percent, where the formulas do not hold.
"""

from __future__ import annotations

import math

_COLDEST, _HOTTEST = -45.0, 60.0
_SATURATED = 100.0
_ZERO_K = 273.15
_ATMOSPHERE_PA = 101_325.0


def dew_point(temperature: float, humidity: float) -> float:
    """Return the dew point over water in degC.

    The Magnus formula with the constants of WMO-No. 8, annex 4.B: 17.62 and 243.12 degC, for -45 to 60 degC.
    Dry air (0 percent) has no dew point: ValueError.
    """
    _check_range(temperature, humidity)
    logarithm = math.log(humidity / _SATURATED) + 17.62 * temperature / (243.12 + temperature)
    return 243.12 * logarithm / (17.62 - logarithm)


def humidex(temperature: float, humidity: float) -> float:
    """Return the humidex, a number without a unit that reads like degC.

    The formula of Canada's weather service (Masterton and Richardson, 1979). It describes warm and humid air;
    in dry or cold air it is below the temperature.
    """
    dew_point_k = dew_point(temperature, humidity) + _ZERO_K
    vapour_hpa = 6.11 * math.exp(5417.753 * (1 / 273.16 - 1 / dew_point_k))
    return temperature + 0.5555 * (vapour_hpa - 10)


def enthalpy(temperature: float, humidity: float) -> float:
    """Return the specific enthalpy in kJ per kg of dry air at 101.325 kPa, 0 for dry air at 0 degC.

    ASHRAE Handbook Fundamentals, chapter 1: saturation by Hyland and Wexler, over ice below 0 degC.
    """
    _check_range(temperature, humidity)
    vapour_pa = humidity / _SATURATED * _saturation_pa(temperature + _ZERO_K)
    moisture = 0.621945 * vapour_pa / (_ATMOSPHERE_PA - vapour_pa)  # kg of water per kg of dry air
    return 1.006 * temperature + moisture * (2501 + 1.86 * temperature)


def _check_range(temperature: float, humidity: float) -> None:
    if not (_COLDEST <= temperature <= _HOTTEST and 0 <= humidity <= _SATURATED):
        raise ValueError("outside the range of the formulas")


def _saturation_pa(kelvin: float) -> float:
    """Return the pressure of saturated water vapour in Pa."""
    if kelvin < _ZERO_K:
        series = (-5674.5359, 6.3925247, -9.677843e-3, 6.2215701e-7, 2.0747825e-9, -9.484024e-13)
        of_logarithm = 4.1635019
    else:
        series = (-5800.2206, 1.3914993, -4.8640239e-2, 4.1764768e-5, -1.4452093e-8, 0.0)
        of_logarithm = 6.5459673
    powers = sum(factor * kelvin**power for power, factor in enumerate(series, start=-1))
    return math.exp(powers + of_logarithm * math.log(kelvin))
