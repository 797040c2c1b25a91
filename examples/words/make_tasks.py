#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tasks from WordNet's definitions: "does this definition speak of X rather than of Y?"

    apt install wordnet-base && python make_tasks.py

X and Y are two of WordNet's lexicographer categories, 37 of which have enough definitions. Writes `corpus/tasks.json`
(the tasks and how each is asked for), `corpus/training.json` (the definitions that adapters are trained with, by
category) and `tests.json` (the definitions that adapters are tested with; other words to ask for the held-out tasks).
"""
import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Number in WordNet's data files: name in tasks, words for it. The first two words are for training; the third is kept
# for asking in words that no generator saw.
CATEGORIES = {
    4: ("act", "human acts", "deeds and activities", "what people do"),
    5: ("animal", "animals", "beasts and other creatures", "living creatures"),
    6: ("artifact", "man-made objects", "tools, buildings and other artifacts", "things that people make"),
    7: ("attribute", "attributes", "qualities and properties", "traits of people and things"),
    8: ("body", "body parts", "organs and other parts of the body", "anatomy"),
    9: ("cognition", "ideas and knowledge", "thoughts, beliefs and fields of study", "contents of the mind"),
    10: ("communication", "communication", "words, messages and documents", "language and what is said or written"),
    11: ("event", "events", "happenings", "things that happen"),
    12: ("feeling", "feelings", "emotions and moods", "what people feel"),
    13: ("food", "food", "food and drink", "things to eat and drink"),
    14: ("group", "groups", "groups of people or things", "collections, families and organizations"),
    15: ("location", "places", "regions and locations", "where things are on the map"),
    17: ("object", "natural objects", "mountains, stars and other natural objects", "bodies found in nature"),
    18: ("person", "people", "persons and their roles", "men and women"),
    19: ("phenomenon", "natural phenomena", "physical phenomena and forces", "what is observed in nature"),
    20: ("plant", "plants", "trees, herbs and flowers", "vegetation"),
    21: ("possession", "possessions", "money, property and its transfer", "wealth and what is owned"),
    22: ("process", "processes", "natural processes", "courses of change"),
    23: ("quantity", "quantities", "amounts and units of measure", "numbers and measurements"),
    24: ("relation", "relations", "relations between people, things or ideas", "how things are connected"),
    25: ("shape", "shapes", "two- and three-dimensional figures", "geometric forms"),
    26: ("state", "states", "conditions and states of affairs", "situations and illnesses"),
    27: ("substance", "substances", "materials and chemicals", "what things are made of"),
    28: ("time", "time", "periods and points in time", "dates and durations"),
    29: ("bodily-care", "bodily care and functions", "grooming, dressing and what bodies do", "looking after the body"),
    30: ("change", "changing", "becoming different in size, degree or state", "alteration"),
    31: ("thinking", "thinking", "judging, knowing and remembering", "acts of the mind"),
    32: ("speaking", "speaking", "telling, asking and other ways to communicate", "saying something"),
    33: ("competing", "competing", "fighting and playing games", "contests and battles"),
    35: ("contact", "touching", "hitting, tying, digging and other contact", "physical contact"),
    36: ("creating", "creating", "making, baking, sewing and performing", "bringing something into being"),
    37: ("emotion", "having emotions", "loving, fearing and other emotions", "being moved at heart"),
    38: ("motion", "moving", "walking, flying and other motion", "going from place to place"),
    39: ("perceiving", "perceiving", "seeing, hearing and other perception", "using the senses"),
    40: ("trading", "owning and trading", "buying, giving and receiving", "change of ownership"),
    41: ("social", "social behaviour", "behaving in society, politics and work", "dealing with other people"),
    42: ("being", "being", "being, having and spatial relations", "how things are"),
}

# Ways to ask in a sentence; two of the first eight, and one of the others, name Y first.
FORMS = [
    "Does this definition speak of {x} rather than of {y}?",
    "Say no to {y} and yes to {x}.",
    "{x}, not {y}",
    "Is this about {x}, as opposed to {y}?",
    "Accept {x}; reject {y}.",
    "Instead of {y} it should be {x}.",
    "Tell {x} from {y}: the former are wanted.",
    "Yes for {x}, no for {y}.",
]
OTHER_FORMS = [
    "I am looking for {x} and have no use for {y}.",
    "Is what is defined here among {x}, or is it {y}? The answer is yes for the first.",
    "Leave out {y}, keep {x}.",
    "Pick {x} over {y}.",
]

NEW_IN_TEST = ("food", "motion")  # a noun's and a verb's category that no training task has
NEW_IN_VALIDATION = ("body", "competing")  # likewise, so that choices on validation look at new categories too
TASKS = {"train": 320, "validation": 24, "test": 40}  # pairs of categories that training tasks have
NEW_TASKS = {"validation": 12, "test": 20}
GLOSSES = {"describe": 40, "describe_held_out": 20, "test": 72}  # of each category; the rest trains adapters
WORDS = (3, 20)  # of a definition
EXAMPLES, DRAWS = 8, 4  # definitions for each side of a few-shot description; descriptions of a training task


def definitions(folder):
    """{category: its definitions, without example sentences and without those of two categories}."""
    found = {number: [] for number in CATEGORIES}
    for name in ("data.noun", "data.verb"):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            head, bar, gloss = line.partition(" | ")
            if line.startswith(" ") or not bar or int(head.split()[1]) not in found:
                continue
            text = re.split(r'[;:,]?\s*"', gloss)[0].strip()
            text = re.sub(r"^\(.*?\)\s*", "", text)  # a field, as in "(chemistry) ..."
            if WORDS[0] <= len(text.split()) <= WORDS[1]:
                found[int(head.split()[1])].append(text)
    of = {number: set(texts) for number, texts in found.items()}
    times = Counter(text for texts in of.values() for text in texts)
    return {CATEGORIES[n][0]: sorted(text for text in texts if times[text] == 1) for n, texts in of.items()}


def split_glosses(glosses, chooser):
    """{part: {category: definitions}}, parts disjoint; a definition of the training part is used once in 320 at most."""
    parts = {name: {} for name in (*GLOSSES, "train")}
    for category, texts in glosses.items():
        texts = chooser.sample(texts, len(texts))
        for name, count in GLOSSES.items():
            parts[name][category], texts = texts[:count], texts[count:]
        if len(texts) < 100:
            raise SystemExit(f"{category}: only {len(texts)} definitions are left for training")
        parts["train"][category] = texts[:320]
    return parts


def balanced(pairs, split):
    """Of ordered pairs the first for a split that let each category be X, and be Y, about as often as any other."""
    xs, ys, chosen, left = Counter(), Counter(), [], list(pairs)
    while len(chosen) < TASKS[split]:
        pair = min(left, key=lambda p: (xs[p[0]] + ys[p[1]], max(xs[p[0]], ys[p[1]])))
        left = [p for p in left if p != pair and (split == "train" or p != pair[::-1])]
        chosen.append(pair)
        xs[pair[0]] += 1
        ys[pair[1]] += 1
    return chosen


def choose_pairs(names, chooser):
    """[(split, whether it has a new category, X, Y)]; a held-out pair is in no training task in either order."""
    new = NEW_IN_TEST + NEW_IN_VALIDATION
    known = [name for name in names if name not in new]
    pairs = [(x, y) for x in known for y in known if x != y]
    chooser.shuffle(pairs)
    result = []
    for split in ("test", "validation", "train"):
        chosen = balanced(pairs, split)
        result += [(split, False, *pair) for pair in chosen]
        pairs = [pair for pair in pairs if pair not in chosen and pair[::-1] not in chosen]
    for split, categories in (("test", NEW_IN_TEST), ("validation", NEW_IN_VALIDATION)):
        others = chooser.sample(known, NEW_TASKS[split])
        for i, other in enumerate(others):
            category = categories[i % 2]
            result.append((split, True, *((category, other) if i % 4 < 2 else (other, category))))
    order = {"train": 0, "validation": 1, "test": 2}
    return sorted(result, key=lambda task: (order[task[0]], task[1]))


def words_of(category, which=0):
    return next(c[1 + which] for c in CATEGORIES.values() if c[0] == category)


def asked(form, x, y):
    text = form.format(x=x, y=y)
    return text[0].upper() + text[1:]


def described(split, new, x, y, parts, chooser):
    """One task: few-shot descriptions, sentences, and what is kept for asking otherwise."""
    held_out = split != "train"
    pool = parts["describe_held_out" if held_out else "describe"]
    draws = [{"yes": chooser.sample(pool[x], EXAMPLES), "no": chooser.sample(pool[y], EXAMPLES)}
             for _ in range(1 if held_out else DRAWS)]
    both = [(words_of(x, i), words_of(y, i)) for i in range(3)]
    sentences = [asked(form, *both[i // 2 % 2]) for i, form in enumerate(FORMS)]
    task = {"task": f"{x}-not-{y}", "split": split, "new": new, "yes": x, "no": y, "glosses": draws,
            "names": [{"yes": a, "no": b} for a, b in both[:2]], "sentences": sentences[:1] if held_out else sentences}
    if held_out:
        task["paraphrased"] = {"names": {"yes": both[2][0], "no": both[2][1]},
                               "sentences": [asked(form, *both[0]) for form in OTHER_FORMS]}
    return task


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of data.noun")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chooser = random.Random(args.seed)
    parts = split_glosses(definitions(args.wordnet), chooser)
    names = [c[0] for c in CATEGORIES.values()]
    tasks = [described(*task, parts, chooser) for task in choose_pairs(names, chooser)]
    paraphrased = {task["task"]: task.pop("paraphrased") for task in tasks if task["split"] != "train"}
    (HERE / "corpus").mkdir(exist_ok=True)
    for file, content in (("corpus/tasks.json", tasks), ("corpus/training.json", parts["train"]),
                          ("tests.json", {"glosses": parts["test"], "paraphrased": paraphrased})):
        (HERE / file).write_text(json.dumps(content, indent=0) + "\n")
    for split in TASKS:
        mine = [task for task in tasks if task["split"] == split]
        print(f"{split:<10}  {len(mine)} tasks, {sum(task['new'] for task in mine)} of them with a new category")
    print("definitions for training adapters:", {c: len(t) for c, t in parts["train"].items()})


if __name__ == "__main__":
    main()
