"""Generate the two starter series, `prices.csv` and `weather.csv`: `python corpora/generate.py FOLDER`.

Both are synthetic, from the equations below and fixed seeds, so their predictable part is known: for the prices none
in the direction and much in the volatility, for the weather cycles of a day and a year, slow air masses and sudden
fronts. Every machine writes the same bytes. The raw bits and the seeding of PCG64 never change (NEP 19), and normal
numbers are computed from them here. Values are rounded to whole cents and tenths, about ten orders of magnitude
coarser than the differences between machines.

z, z', z'' are independent standard normal numbers, U uniform ones; t is the row index.

**Prices**, one row a weekday. Log returns r_t = m + s_t z_t have the volatility of a GARCH(1,1),
s²_{t+1} = w + a (r_t - m)² + b s²_t (Bollerslev, Journal of Econometrics 31, 1986); the close is a geometric random
walk, C_t = C_{t-1} exp(r_t). A fraction g of the day's variance falls on the night: ln O_t - ln C_{t-1} = g m + sqrt(g)
s_t z'_t and the day brings the rest, so that z_t = sqrt(g) z'_t + sqrt(1 - g) z''_t. From open to close, x = ln C_t -
ln O_t, the price is a Brownian bridge of variance v = (1 - g) s²_t, whose maximum above the open is
(x + sqrt(x² - 2 v ln U)) / 2 (Beaglehole, Dybvig and Zhou, Financial Analysts Journal 53, 1997); the minimum likewise,
from another U. Log volume is an AR(1) about a mean that rises with s_t and with |z_t| (Karpoff, Journal of
Financial and Quantitative Analysis 22, 1987).

**Weather**, one row an hour, somewhere in the northern temperate zone. h is the hour of the day, Y = cos(2 pi (t -
18 d) / year) the winter (1 in January, -1 in July), X_k an independent AR(1) of variance 1 and time constant k hours;
the coefficients c are in the code. Fronts are a Poisson process, more frequent in winter, each of random strength f.

- Pressure (hPa): P = c + (c + c Y) S + c cos(2 pi (h - 10) / 12) - c f exp(-|t - front| / c), the tide and the trough
  of each front added to S, a leaky mean over 8 hours of X_70: together an AR(2) of two real roots.
- Cloud (0 to 1): C = logistic(c + c Y - c S + c N + c X_15), N the proximity of a front, a Gaussian in time.
- Temperature (°C): T = M + (c - c Y) (c - C) D(h), D the diurnal cycle in two harmonics (and a ripple of X_3), M = c -
  c Y + c X_80 - B + c Y (C - 1/2), B the cold behind a front, with a time constant of 48 hours.
- Humidity (%): 100 e(min(M - G, T - 0.15)) / e(T), the dew point under M by the gap G = (c + (c - c Y) (1 - C) + c B)
  exp(c X_30), e the Magnus formula e(T) = 6.112 exp(17.62 T / (243.12 + T)) for the vapour pressure (WMO-No. 8).
- Wind (m/s): the length of a vector of two X_14, so Rayleigh distributed at any hour, times (c + c Y - c tanh S +
  c |dP| + c N) (1 + c cos(2 pi (h - 14) / 24)).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST_DAY, LAST_DAY = np.datetime64("2018-01-01"), np.datetime64("2023-12-31")  # of the prices
FIRST_HOUR, END_HOUR = np.datetime64("2021-01-01T00"), np.datetime64("2023-01-01T00")  # of the weather; end excluded
PRICES_SEED, WEATHER_SEED = 1986, 1922  # the years of GARCH and of Richardson's forecast by hand
YEAR = 365.25 * 24.0  # hours


def uniform(bits: np.random.PCG64, n: int) -> Floats:
    """Return `n` uniform numbers strictly between 0 and 1, each from the upper 53 bits of a raw integer."""
    raw = np.asarray(bits.random_raw(n), dtype=np.uint64)
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(bits: np.random.PCG64, n: int) -> Floats:
    """Return `n` standard normal numbers (Box and Muller, Annals of Mathematical Statistics 29, 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniform(bits, n)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(bits, n)))


def autoregression(noise: Floats, hours: float) -> Floats:
    """Return an AR(1) of variance 1 with a time constant of `hours` rows, driven by standard normal `noise`."""
    decay = float(np.exp(-1.0 / hours))
    values = np.empty_like(noise)
    value = noise[0]
    for row, shock in enumerate(noise):
        if row:
            value = decay * value + float(np.sqrt(1.0 - decay * decay)) * shock
        values[row] = value
    return values


def prices() -> tuple[list[str], list[list[str]]]:
    """Return header and rows of `prices.csv`: date; open, high, low and close in units of money; volume in shares."""
    days = np.arange(FIRST_DAY, LAST_DAY + 1)
    days = days[np.is_busday(days)]
    n = len(days)
    bits = np.random.PCG64(PRICES_SEED)
    mean, night_fraction = 0.0002, 0.25  # of a day's log return; of its variance
    react, persist, usual = 0.09, 0.89, 0.012  # a and b of the GARCH, and its mean volatility
    night, day = normal(bits, n), normal(bits, n)
    shock = np.sqrt(night_fraction) * night + np.sqrt(1.0 - night_fraction) * day
    volatility = np.empty(n)
    variance = usual**2
    for row in range(n):
        volatility[row] = np.sqrt(variance)
        variance = (1.0 - react - persist) * usual**2 + (react * shock[row] ** 2 + persist) * variance
    close = np.log(80.0) + np.cumsum(mean + volatility * shock)
    before = np.concatenate([[np.log(80.0)], close[:-1]])
    opening = before + night_fraction * mean + np.sqrt(night_fraction) * volatility * night
    move = close - opening
    spread = 2.0 * (1.0 - night_fraction) * volatility**2
    up = 0.5 * (move + np.sqrt(move**2 - spread * np.log(uniform(bits, n))))
    down = 0.5 * (move - np.sqrt(move**2 - spread * np.log(uniform(bits, n))))
    activity = 0.25 * autoregression(normal(bits, n), 12.0) + 0.6 * np.log(volatility / usual) + 0.25 * np.abs(shock)
    volume = 1_400_000.0 * np.exp(activity)
    table = [fixed(np.exp(column), 2) for column in (opening, opening + up, opening + down, close)]
    lots = [str(100 * int(count)) for count in np.rint(volume / 100.0)]
    rows = [list(row) for row in zip(np.datetime_as_string(days), *table, lots, strict=True)]
    return ["date", "open", "high", "low", "close", "volume"], rows


def weather() -> tuple[list[str], list[list[str]]]:
    """Return header and rows of `weather.csv`: UTC time, temperature (°C), humidity (%), wind (m/s), pressure (hPa)."""
    hours = np.arange(FIRST_HOUR, END_HOUR)
    n = len(hours)
    count = np.arange(n, dtype=np.float64)
    hour = count % 24.0
    winter = np.cos(2.0 * np.pi * (count - 18.0 * 24.0) / YEAR)  # 1 in January, -1 in July
    bits = np.random.PCG64(WEATHER_SEED)

    trough, behind, near = fronts(bits, count, winter)
    synoptic = autoregression(normal(bits, n), 70.0)
    smooth = np.empty(n)  # the second root of an AR(2)
    level = synoptic[0]
    for row in range(n):
        level += (synoptic[row] - level) / 8.0
        smooth[row] = level
    tide = 0.6 * np.cos(4.0 * np.pi * (hour - 10.0) / 24.0)
    pressure = 1016.5 + (7.0 + 2.0 * winter) * smooth + tide - trough

    haze = autoregression(normal(bits, n), 15.0)
    cloud = 1.0 / (1.0 + np.exp(-(0.2 + 0.3 * winter - 1.1 * smooth + 2.5 * near + 0.9 * haze)))
    mass = autoregression(normal(bits, n), 80.0)
    ripple = autoregression(normal(bits, n), 3.0)
    slow = 11.8 - 9.6 * winter + 2.7 * mass - behind + 1.2 * winter * (cloud - 0.5)
    course = np.cos(2.0 * np.pi * (hour - 15.0) / 24.0) + 0.22 * np.cos(4.0 * np.pi * (hour - 14.0) / 24.0)
    temperature = slow + (4.3 - 2.4 * winter) * (1.25 - cloud) * course + 0.35 * ripple

    dryness = autoregression(normal(bits, n), 30.0)
    deficit = (1.6 + (4.2 - 2.0 * winter) * (1.0 - cloud) + 0.25 * behind) * np.exp(0.22 * dryness)
    dew_point = np.minimum(slow - deficit, temperature - 0.15)
    humidity = 100.0 * vapour_pressure(dew_point) / vapour_pressure(temperature)

    steepness = np.abs(np.concatenate([[0.0], np.diff(pressure)]))
    strength = 2.2 + 0.5 * winter - 0.4 * np.tanh(smooth) + 1.3 * steepness + 2.0 * near
    strength = strength * (1.0 + 0.22 * np.cos(2.0 * np.pi * (hour - 14.0) / 24.0))
    west, south = autoregression(normal(bits, n), 14.0), autoregression(normal(bits, n), 14.0)
    wind = strength * np.sqrt(west**2 + south**2)

    times = [time.replace("T", " ") for time in np.datetime_as_string(hours, unit="m")]
    table = [fixed(column, 1) for column in (temperature, humidity, wind, pressure)]
    rows = [list(row) for row in zip(times, *table, strict=True)]
    return ["time", "temperature", "humidity", "wind", "pressure"], rows


def fronts(bits: np.random.PCG64, count: Floats, winter: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the effects of cold fronts by hour: pressure trough (hPa), cold behind (K), proximity (0 to 1)."""
    arrives = uniform(bits, len(count)) < (1.0 + 0.35 * winter) / (4.5 * 24.0)  # one in 4.5 days
    strength = 0.4 + 1.2 * uniform(bits, len(count))
    trough, behind, near = np.zeros_like(count), np.zeros_like(count), np.zeros_like(count)
    for at in np.flatnonzero(arrives):
        since = count - count[at]
        trough += 7.0 * strength[at] * np.exp(-np.abs(since) / np.where(since < 0.0, 14.0, 9.0))
        after = np.maximum(since, 0.0)
        behind += 5.0 * strength[at] * (1.0 - np.exp(-after / 2.0)) * np.exp(-after / 48.0)
        near = np.maximum(near, min(strength[at], 1.0) * np.exp(-((since / 7.0) ** 2)))
    return trough, behind, near


def vapour_pressure(temperature: Floats) -> Floats:
    """Return the saturation vapour pressure over water in hPa, at a temperature in °C (Magnus formula, WMO-No. 8)."""
    return np.asarray(6.112 * np.exp(17.62 * temperature / (243.12 + temperature)))


def fixed(values: Floats, places: int) -> list[str]:
    """Format values with `places` digits after the point; zero has no sign."""
    units = np.rint(values * 10.0**places).astype(np.int64)
    one = 10**places
    return [f"{'-' if unit < 0 else ''}{abs(unit) // one}.{abs(unit) % one:0{places}d}" for unit in units.tolist()]


SERIES: dict[str, Callable[[], tuple[list[str], list[list[str]]]]] = {"prices.csv": prices, "weather.csv": weather}


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """Return the CSV file in UTF-8, with line feeds on every system. No field has a comma or a quote."""
    return "".join(",".join(row) + "\n" for row in [header, *rows]).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every series to a folder, which is made if necessary."""
    parser = argparse.ArgumentParser(description="Write the starter series prices.csv and weather.csv.")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SERIES.items():
        (folder / name).write_bytes(csv_bytes(*make()))


if __name__ == "__main__":
    main()
