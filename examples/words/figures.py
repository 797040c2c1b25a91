# SPDX-License-Identifier: Apache-2.0
"""The experiment's picture."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

INK, FAINT = "#222222", "#dddddd"
# Ways to ask: colour and shape of their dots.
LOOKS = {"glosses": ("#0b6e99", "o"), "names": ("#d9822b", "s"), "other names": ("#8a5aa8", "D"),
         "sentence": ("#0b6e99", "o"), "paraphrase": ("#d9822b", "s"), "another task's": ("#888888", "x"),
         "nonsense": ("#888888", "|")}


def draw(result, trainings, path):
    """Accuracy of each method (rows) by the way it was asked (dots), a panel for each training and group of tasks."""
    groups = list(result["references"])
    rows = [(training, method) for training in trainings for method in result.get(training, {})]
    figure, panels = plt.subplots(1, len(groups), figsize=(5.2 * len(groups), 0.36 * len(rows) + 1.6), sharey=True,
                                  squeeze=False)
    seen = {}
    for group, axes in zip(groups, panels[0]):
        for name, style in (("base", ":"), ("fine-tuned", "--")):
            value = result["references"][group][name]["mean"]
            axes.axvline(value, color=INK, lw=1, ls=style)
            axes.text(value, -0.75, f"{name} {value:.1f}", fontsize=8, color=INK, ha="center", va="bottom")
        for i, (training, method) in enumerate(rows):
            for way, (colour, marker) in LOOKS.items():
                value = result[training][method]["groups"][group].get(way)
                if value:
                    seen[way], = axes.plot(value["mean"], i, marker, color=colour, ms=6, ls="")
        axes.set_xlim(35, 100)
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.set_yticks(range(len(rows)), [f"{training}: {method}" for training, method in rows], fontsize=9, color=INK)
        axes.set_xlabel(f"right answers, %, {group}", fontsize=9, color=INK)
        axes.grid(axis="both", color=FAINT, lw=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    figure.legend(seen.values(), [f"asked by {way}" for way in seen], fontsize=8.5, ncol=4, loc="upper center",
                  bbox_to_anchor=(0.5, 0.02), frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)
