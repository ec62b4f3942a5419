"""Words for synthetic tasks: verbs and qualities that mean nothing in ALFWorld's own tasks.

No verb, quality or synonym of the six real task types is among them, so that none of these is taught by the way.
"""

from __future__ import annotations

import random

_VERB_LIST = """
adjust align anoint assemble attach balance beat bend bind blend bless block bolt bronze brush buff calibrate carve
charge clamp clip coat colour comb connect copy cover crack crush cut dampen dance decorate deflate dent dig dip
display dissolve dock drag drain drape draw dress drill dust dye empty enchant engrave erase etch fan fasten file fill
flatten flip fluff fold frame fuse gild glaze glue grate grease greet grind guard hammer hang hide hum imprint inflate
iron jiggle juggle knead knock label lacquer launch level lick link lock magnetise map mark mash measure mend mirror
mix model nail notch oil pack paint patch peel perfume photograph pierce pinch plug polish pour press print prod pump
punch push quilt rake rattle record repair ribbon ring roll rub salt sand scent scrape scratch screw seal season sew
shake sharpen shave shine sign sing sketch smoke smooth sort spin splash spray squeeze stack stamp staple stir stitch
strap stretch string stroke stuff swing tag tap tape test tickle tie tile tilt tow trace trim tune twist unlock unroll
upgrade varnish wake wax weigh weld whip whisk whisper whistle wind wire wrap zip
"""

_QUALITY_LIST = """
ancient blessed bouncy brave bright brittle bumpy calm charged cheerful coded crooked curly dim dull dusty elegant
enchanted faded fancy festive firm fluffy formal fragile friendly fuzzy gentle glossy golden grand greasy happy heavy
hollow holy humble innocent itchy jolly juicy keen labelled lazy light lively loud loyal lucky magic marked mild misty
modern mossy neat noble noisy nosy odd official oily pale patient plain polite pretty proper proud quaint quick quiet
rare ready registered royal rusty safe salty scented sealed secret shiny silent silky sleepy slim sly smooth soft
solid sour special spicy spotted stamped steady sticky striped strong sturdy sweet tame tender tested thick thin tidy
tiny tough trained trusted unlucky velvet vivid waxed weird wild wise wobbly wooden young zesty
"""

VERBS = tuple(_VERB_LIST.split())
QUALITIES = tuple(_QUALITY_LIST.split())

_ONSETS = (
    "b",
    "bl",
    "br",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "sl",
    "sn",
    "sp",
    "st",
    "t",
    "th",
    "tr",
    "tw",
    "v",
    "w",
    "y",
    "z",
    "zw",
)
_VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "ai", "ou")
_CODAS = ("", "b", "ck", "d", "ff", "g", "l", "m", "n", "nk", "p", "r", "rk", "sh", "st", "t", "x", "zz")


def verb(rng: random.Random) -> str:
    """A verb of this language, or of none."""
    return rng.choice(VERBS) if rng.random() < 0.6 else nonsense(rng)


def quality(rng: random.Random) -> str:
    """An adjective of this language, or of none."""
    return rng.choice(QUALITIES) if rng.random() < 0.6 else nonsense(rng)


def nonsense(rng: random.Random) -> str:
    """One or two syllables of no language."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 2)))
