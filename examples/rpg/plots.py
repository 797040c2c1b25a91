# SPDX-License-Identifier: Apache-2.0
"""The experiments' pictures."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

INK, FAINT, GREY = "#222222", "#dddddd", "#8a8a8a"
BLUE, ORANGE, GREEN = "#0b6e99", "#d9822b", "#4d7c2a"


def finish(figure, axes, path, grid):
    axes.grid(axis=grid, color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(path, dpi=120, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)


def draw_rows(result, path):
    """Dots at the mean, lines to one deviation over tasks. The axis is the share of wrong answers, logarithmic."""
    rows = [(name, row) for name, row in result["rows"].items() if not name.startswith("rpg-")]
    figure, axes = plt.subplots(figsize=(8.5, 0.38 * len(rows) + 1.2))
    least, most = 0.5, 75
    for i, (name, row) in enumerate(rows):
        colour = BLUE if name == "rpg" else INK if name == "fine-tuned" else GREY
        mean, deviation = row["mean"], row["over tasks"]
        wrong = np.clip([100 - mean - deviation, 100 - mean, 100 - mean + deviation], least, most)
        axes.plot(wrong[[0, 2]], [i, i], color=colour, lw=1.6, alpha=0.5, solid_capstyle="round")
        axes.plot(wrong[1], i, "o", color=colour, ms=6)
        for x, text in ((1.04, f"{mean:.1f}"), (1.14, f"{row['recovered']:.3f}")):
            axes.text(x, i, text, color=colour, va="center", ha="center", fontsize=9.5,
                      transform=axes.get_yaxis_transform())
    for x, text in ((1.04, "%"), (1.14, "recovered")):
        axes.text(x, -0.9, text, color=INK, va="bottom", ha="center", fontsize=9.5, transform=axes.get_yaxis_transform())
    axes.set_xscale("log")
    axes.set_xlim(most, least)
    ticks = [50, 70, 80, 90, 95, 97, 98, 99]
    axes.set_xticks([100 - tick for tick in ticks], [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"right answers, % (mean and one deviation over {result['tasks']} tasks that were not trained on; scale: "
                    "log of the wrong ones)", fontsize=9.5, color=INK)
    axes.set_yticks(range(len(rows)), [row["label"] for _, row in rows], fontsize=9.5, color=INK)
    for tick, (name, _) in zip(axes.get_yticklabels(), rows):
        if name == "rpg":
            tick.set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    finish(figure, axes, path, "x")


def draw_similarity(result, path):
    """One point an adapter: how much its mistakes are those of a checkpoint, and its accuracy."""
    figure, axes = plt.subplots(figsize=(7.5, 4.8))
    for name, points in result["accuracy on moved images and max IoU"].items():
        accuracy, similarity = np.array(points).T
        noise = name.startswith("noise")
        shade = plt.get_cmap("Oranges")(0.35 + 12 * float(name.split()[1])) if noise else None
        colour = {"original": INK, "generated": BLUE, "mean of all": GREEN, "means of two": GREY}.get(name, shade)
        marker = {"generated": "o", "mean of all": "*", "original": "."}.get(name, "x" if noise else "+")
        axes.scatter(similarity, accuracy, color=colour, marker=marker,
                     s=130 if marker == "*" else 45, label=name, zorder=3 if name == "generated" else 2)
    axes.set_xlabel("similarity: IoU of wrong answers with the nearest checkpoint's", fontsize=9.5, color=INK)
    axes.set_ylabel(f"right answers on the {result['moved images']} images, %", fontsize=9.5, color=INK)
    axes.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    finish(figure, axes, path, "both")


def draw_states(result, factors, path):
    """Groups of bars for each number of runs."""
    counts, kinds = list(result["runs"]), [kind for kind in factors if f"{kind}, with" in next(iter(result["runs"].values()))]
    names = ["original", "mean of all"] + [f"{kind}, {state}" for kind in kinds for state in ("without", "with")]
    colours = {"original": INK, "mean of all": GREY}
    for kind, colour in zip(kinds, (BLUE, ORANGE)):
        colours[f"{kind}, with"] = colour
    figure, axes = plt.subplots(figsize=(8.5, 3.8))
    width = 0.85 / len(names)
    for i, name in enumerate(names):
        values = [result["runs"][count][name] for count in counts]
        places = np.arange(len(counts)) + (i - (len(names) - 1) / 2) * width
        kind, comma, state = name.partition(", ")
        colour = colours.get(name) or colours[f"{kind}, with"]
        axes.bar(places, [mean for mean, _ in values], 0.9 * width, yerr=[deviation for _, deviation in values],
                 color="white" if state == "without" else colour, edgecolor=colour, ecolor=GREY,
                 label=f"{factors[kind]}, {state} state" if comma else name)
    axes.set_xticks(range(len(counts)), [f"{count} run" + "s" * (count != "1") for count in counts], fontsize=9.5)
    axes.set_ylim(40, 102)
    axes.set_ylabel("right answers, %", fontsize=9.5, color=INK)
    axes.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    finish(figure, axes, path, "y")


def draw_sizes(result, path):
    """A line a method over the number of training tasks, wrong answers in percent; bars span the draws."""
    sizes = list(result["sizes"])
    figure, axes = plt.subplots(figsize=(7.5, 3.8))
    colours = {"rpg": BLUE, "cond-pdiff": ORANGE, "kernel-ridge": INK, "mlp": GREEN}
    for name in result["sizes"][sizes[0]]["rows"]:
        rows = [result["sizes"][size]["rows"][name] for size in sizes]
        wrong = 100 - np.array([row["mean"] for row in rows])
        ends = 100 - np.array([[max(row["draws"]), min(row["draws"])] for row in rows]).T
        axes.errorbar([int(size) for size in sizes], wrong, yerr=np.abs(ends - wrong), marker="o", ms=4, capsize=3, lw=1.2,
                      color=colours.get(name, GREY), label=rows[0]["label"])
    axes.axhline(100 - result["fine-tuned"], color=INK, lw=0.8, ls=":", label="fine-tuned")
    axes.set_xticks([int(size) for size in sizes])
    axes.set_xlabel("training tasks", fontsize=9.5, color=INK)
    axes.set_ylabel("wrong answers, %", fontsize=9.5, color=INK)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    finish(figure, axes, path, "y")


def draw_speed(result, path):
    figure, axes = plt.subplots(figsize=(7.5, 4))
    for sampler, colour in (("ddpm", INK), ("ddim", BLUE), ("dpm-solver++", ORANGE)):
        rows = [row for name, row in result["rows"].items() if name.rsplit("-", 1)[0] == sampler]
        if not rows:
            continue
        axes.errorbar([row["ms"] for row in rows], [row["accuracy"][0] for row in rows],
                      yerr=[row["over draws"] for row in rows], fmt="o", color=colour, ms=6, elinewidth=1, label=sampler)
        for row in rows:
            axes.annotate(row["label"].split()[-2], (row["ms"], row["accuracy"][0]), xytext=(6, 5),
                          textcoords="offset points", fontsize=8.5, color=colour)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one adapter; numbers are steps", fontsize=9.5, color=INK)
    axes.set_ylabel("right answers, %: mean, deviation over draws", fontsize=9.5, color=INK)
    axes.legend(fontsize=8.5, frameon=False)
    axes.margins(0.15)
    finish(figure, axes, path, "both")
