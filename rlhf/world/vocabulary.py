"""The nouns of the invented world: who lives in it, and what there is."""

from __future__ import annotations

PEOPLE = (
    "Mila", "Toma", "Arin", "Besa", "Caro", "Dario", "Elin", "Farah", "Goran", "Hana", "Ivo", "Jana", "Kaito",
    "Lena", "Marek", "Nadia", "Oskar", "Petra", "Quin", "Rosa", "Sami", "Tilda", "Ugo", "Vera", "Wim", "Xenia",
    "Yara", "Zeno", "Alma", "Bruno", "Cleo", "Dmitri", "Esra", "Filip", "Greta", "Hugo", "Ines", "Jonas", "Katya",
    "Luka",
)  # fmt: skip
TOWNS = (
    "Arnley", "Brookmere", "Caldwick", "Dunhollow", "Eastfen", "Foxbridge", "Glimmerton", "Hartsea", "Ironvale",
    "Juniper", "Kestrel", "Larkfield", "Mossgate", "Northwell", "Oakhaven", "Pinemouth",
)  # fmt: skip
JOBS = (
    "baker", "teacher", "farmer", "nurse", "painter", "sailor", "gardener", "carpenter", "cook", "driver", "doctor",
    "tailor", "writer", "singer", "fisher", "builder",
)  # fmt: skip
FOODS = (
    "soup", "bread", "rice", "cheese", "apples", "noodles", "pancakes", "carrots", "honey", "plums", "beans",
    "cake", "fish", "potatoes", "cherries", "salad",
)  # fmt: skip
COLOURS = (
    "red", "blue", "green", "yellow", "white", "black", "brown", "purple", "orange", "pink",
)  # fmt: skip
HOBBIES = (
    "reading", "fishing", "dancing", "swimming", "chess", "running", "knitting", "cycling", "drawing", "hiking",
)  # fmt: skip
PETS = (
    "cat", "dog", "rabbit", "parrot", "turtle", "goat", "pony", "hamster", "duck", "hedgehog",
)  # fmt: skip
PET_NAMES = (
    "Biscuit", "Pepper", "Shadow", "Button", "Clover", "Dusty", "Ember", "Fudge", "Ginger", "Hazel", "Inky",
    "Jumper", "Kiwi", "Lemon", "Muffin", "Nugget", "Olive", "Peanut", "Quill", "Ruffle", "Sandy", "Toffee", "Umber",
    "Velvet", "Whisker", "Yoyo", "Ziggy", "Acorn", "Bubbles", "Cookie", "Domino", "Echo", "Fluff", "Glider",
    "Hopper", "Iris", "Jelly", "Kipper", "Lucky", "Marble",
)  # fmt: skip

# animal: home, food, colour
ANIMALS = {
    "fox": ("in a den", "mice", "orange"),
    "bear": ("in a cave", "berries", "brown"),
    "owl": ("in an old tree", "mice", "grey"),
    "bee": ("in a hive", "nectar", "yellow"),
    "ant": ("in an anthill", "crumbs", "black"),
    "frog": ("in a pond", "flies", "green"),
    "swan": ("on a lake", "weeds", "white"),
    "cow": ("on a farm", "grass", "spotted"),
    "pig": ("on a farm", "turnips", "pink"),
    "horse": ("in a stable", "hay", "brown"),
    "sheep": ("on a meadow", "grass", "white"),
    "wolf": ("in a forest", "meat", "grey"),
    "deer": ("in a forest", "leaves", "brown"),
    "mole": ("under the garden", "worms", "black"),
    "crow": ("in an old tree", "seeds", "black"),
    "crab": ("on a beach", "shells", "red"),
    "seal": ("on a rock", "herring", "grey"),
    "whale": ("in the sea", "shrimps", "blue"),
    "shark": ("in the sea", "herring", "grey"),
    "otter": ("in a river", "trout", "brown"),
    "beaver": ("in a river", "bark", "brown"),
    "camel": ("in a desert", "thorns", "yellow"),
    "lion": ("on a plain", "meat", "golden"),
    "zebra": ("on a plain", "grass", "striped"),
    "monkey": ("in a jungle", "bananas", "brown"),
    "tiger": ("in a jungle", "meat", "striped"),
    "penguin": ("on the ice", "herring", "black"),
    "snail": ("under a leaf", "lettuce", "grey"),
    "spider": ("in a web", "flies", "black"),
    "robin": ("in a nest", "worms", "red"),
}

OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("up", "down"), ("day", "night"), ("old", "young"),
    ("light", "dark"), ("happy", "sad"), ("hard", "soft"), ("wet", "dry"), ("full", "empty"), ("open", "closed"),
    ("rich", "poor"), ("early", "late"), ("high", "low"), ("loud", "quiet"), ("clean", "dirty"), ("strong", "weak"),
    ("near", "far"), ("long", "short"), ("thick", "thin"), ("sweet", "bitter"), ("left", "right"), ("first", "last"),
    ("always", "never"), ("inside", "outside"), ("begin", "end"), ("push", "pull"), ("buy", "sell"), ("win", "lose"),
    ("wide", "narrow"), ("brave", "afraid"), ("warm", "cool"), ("true", "false"), ("over", "under"), ("north", "south"),
)  # fmt: skip

TOOLS = {
    "hammer": "drive nails", "saw": "cut wood", "needle": "sew clothes", "broom": "sweep floors",
    "spade": "dig holes", "ladder": "climb roofs", "brush": "paint walls", "kettle": "boil water",
    "oven": "bake bread", "lamp": "light rooms", "key": "open doors", "clock": "tell the time",
    "boat": "cross rivers", "pen": "write letters", "spoon": "stir soup", "knife": "peel apples",
    "bucket": "carry water", "rope": "tie knots", "map": "find the way", "bell": "call people",
    "rake": "gather leaves", "net": "catch fish", "pillow": "rest heads", "umbrella": "stay dry",
}  # fmt: skip

GREETINGS = (
    "Good morning!", "Good evening!", "Good afternoon!", "Hello!", "Hi there!", "Nice to meet you!", "How are you?",
)  # fmt: skip
