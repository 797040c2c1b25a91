# SPDX-License-Identifier: Apache-2.0
"""The demo's two pictures."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

INK, FAINT = "#222222", "#dddddd"
TEST, SEEN = "#0b6e99", "#d9822b"


def draw_table(rows, counts, path):
    """Dots at the mean, lines of one deviation over tasks to both sides. `rows`: {"label", "test": (mean, deviation),
    "seen": (mean, deviation)}. The axis is the share of wrong answers on a logarithmic scale, labelled by right ones, so
    that 50 % and 98 % both have room."""
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.3))
    least, most = 0.5, 75
    for i, row in enumerate(rows):
        for key, colour, shift in (("test", TEST, -0.14), ("seen", SEEN, 0.14)):
            mean, deviation = row[key]
            wrong = np.clip([100 - mean - deviation, 100 - mean, 100 - mean + deviation], least, most)
            axes.plot(wrong[[0, 2]], [i + shift] * 2, color=colour, lw=1.6, alpha=0.55, solid_capstyle="round")
            axes.plot(wrong[1], i + shift, "o", color=colour, ms=5.5)
            axes.text(1.03 if key == "test" else 1.17, i, f"{mean:.1f}", color=colour, va="center", ha="center",
                      fontsize=9.5, transform=axes.get_yaxis_transform())
    for key, colour, x in (("test", TEST, 1.03), ("seen", SEEN, 1.17)):
        axes.text(x, -0.85, f"{counts[key]} {key}\ntasks", color=colour, va="bottom", ha="center", fontsize=9.5,
                  transform=axes.get_yaxis_transform())
    axes.set_xscale("log")
    axes.set_xlim(most, least)
    ticks = [50, 70, 80, 90, 95, 97, 98, 99]
    axes.set_xticks([100 - tick for tick in ticks], [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("right answers on the test images, % (mean and one deviation over tasks; scale: log of the wrong ones)",
                    fontsize=9.5, color=INK)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=9.5, color=INK)
    for tick, row in zip(axes.get_yticklabels(), rows):
        if row["name"] == "generated":
            tick.set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(path, dpi=130, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)


def draw_confusion(matrix, tasks, share, path):
    """`matrix` [condition, task]: right answers in percent."""
    figure, axes = plt.subplots(figsize=(6.4, 5.6))
    order = sorted(range(len(tasks)), key=lambda i: tasks[i])
    image = axes.imshow(matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=0, vmax=100, interpolation="nearest")
    step = max(1, len(tasks) // 10)
    places = list(range(0, len(tasks), step))
    names = [tasks[order[i]] for i in places]
    axes.set_xticks(places, names, rotation=90, fontsize=7, family="monospace")
    axes.set_yticks(places, names, fontsize=7, family="monospace")
    axes.set_xlabel("task that the adapter is measured on", fontsize=9.5, color=INK)
    axes.set_ylabel("condition that it was generated for", fontsize=9.5, color=INK)
    axes.set_title(f"{len(tasks)} test tasks; best on its own task: {share:.1f} %", fontsize=10.5, color=INK)
    axes.tick_params(length=2, color="#999999")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("right answers, %", fontsize=9.5, color=INK)
    bar.outline.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)
