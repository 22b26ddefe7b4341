"""Who a patient is: two names that differ in case, in the form of an accent or in blanks are one patient's.

A patient's identity is made of the folder's name and is what is compared; the spelling delivered is what is kept and shown.
Nothing here decides which spelling is right. Names that only look the same, or nearly, are two patients here: who is told of
them decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

# What Unicode calls default-ignorable, but for the format characters (category Cf); and the Braille pattern without a dot.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
_DOTTED = re.compile("i\u0307+")  # however many: an İ with a dot more is written i with two

# Capitals of other alphabets, hyphens and apostrophes that are drawn as these: what keyboards, and Word's and Excel's
# corrections put in their place (the letters after Unicode Technical Standard 39).
_DRAWN_AS = {
    "ABCEHIJKMOPSTXY": "\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u0423",
    "ABEZHIKMNOPTYX": "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    "-" * 8: "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043",
    "'" * 7: "\u2018\u2019\u201b\u2032\u02bc\u00b4`",
}
_AS_LATIN = {ord(one): latin for letters, others in _DRAWN_AS.items() for latin, one in zip(letters, others, strict=True)}


def identity(name: str) -> str:
    """A name in NFC and case-folded, without letters that nobody sees and without blanks around it; inner ones are one space.

    Folded as The Unicode Standard has it (3.13, D145), and i as in Turkish: Yıldız and YILDIZ are one name, İ is i.
    """
    if name.isascii() and name.isprintable():  # most are: a hundred thousand take 0.1 s
        return tidy(name).lower()
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", tidy(name)).casefold())
    return unicodedata.normalize("NFC", _DOTTED.sub("i", folded.replace("\u0131", "i")))


def tidy(name: str) -> str:
    """The identity but for the case, which stays."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    seen = "".join(letter for letter in _UNSEEN.sub("", name) if letter.isspace() or not _is_format(letter))
    return unicodedata.normalize("NFC", " ".join(seen.split()))


def shown(*spellings: str) -> str:
    """A name as it is; several spellings of one, or one of which not all can be seen, quoted and in ASCII: 'Mu\\u0308ller'."""
    if len(spellings) == 1 and spellings[0].isprintable() and spellings[0] == " ".join(spellings[0].split()):
        return spellings[0]
    return " and ".join(ascii(name) for name in spellings)


def spelled_apart(names: Iterable[str]) -> dict[str, list[str]]:
    """Identity -> its spellings, sorted, of every patient who has more than one."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(identity(name), set()).add(name)
    return {who: sorted(ways) for who, ways in sorted(spellings.items()) if len(ways) > 1}


def drawn(name: str) -> str:
    """What the eye sees of a name: wide letters, those of other alphabets, kinds of hyphens and dots at its end don't count."""
    seen = unicodedata.normalize("NFKC", tidy(name).translate(_AS_LATIN)).upper().translate(_AS_LATIN)
    return identity(seen.rstrip(". ")) or identity(name)


def loosely(name: str) -> str:
    """A name as somebody may write it by mistake: without accents and leading zeros, another separator, 0 for the letter O."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", drawn(name)) if not unicodedata.combining(letter))
    plain = re.sub(r"(?<!\d)0+(?=\d)", "", plain.replace("o", "0"))
    return re.sub(r"[\W_]+", "-", plain).strip("-") or plain


def alike(names: Iterable[str], form: Callable[[str], str]) -> dict[str, str]:
    """Identity -> the name of another patient whose name has the same `form`, of everybody of whom there is one."""
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        groups.setdefault(form(name), {}).setdefault(identity(name), name)
    return {
        who: next(name for other, name in group.items() if other != who)
        for group in groups.values()
        for who in group
        if len(group) > 1
    }


def told_twice(names: Iterable[str]) -> str:
    """Which two names are one patient's, or look as if they were, in words; empty where nobody's are."""
    names = sorted(names)
    for spellings in spelled_apart(names).values():
        return f"{shown(*spellings)} are one patient's name"
    by_identity = {identity(name): name for name in names}
    for who, other in alike(names, drawn).items():
        return f"{shown(by_identity[who], other)} look the same"
    return ""


def are_among(names: Iterable[str], others: Iterable[str]) -> list[bool]:
    """For each of `names` whether it is a patient of `others`, however spelled."""
    known = {identity(name) for name in others}
    return [identity(name) in known for name in names]


def not_among(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `names`, sorted, who are no patients of `others`, however spelled."""
    names = list(names)
    return sorted({name for name, known in zip(names, are_among(names, others), strict=True) if not known})


def _is_format(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf")
