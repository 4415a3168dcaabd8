"""The explanation of covariate shift, with the numbers of a real network, and its picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.describe.paragraphs import filled
from jaxcnn.describe.tables import Grid
from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_panel, add_tile, blank_page, save
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, TITLE, add_text
from jaxcnn.shift.example import CORRUPTION, SEVERITY, CovariateShift, covariate_shift_example

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SOURCE, _TARGET, _REPAIRED = "#00558c", "#d55e00", "#009e73"


def explain_covariate_shift() -> list[str | Grid]:
    """Explain covariate shift step by step: what it is, what a layer sees, what it costs, and what repairs it."""
    e = covariate_shift_example()
    source, target = (e.normalized(name) for name in ("source", "target"))
    before, after, repaired = e.cost.source, e.cost.target, e.repaired_cost.target
    tilted = int(np.argmax(e.cost.predicted_target))
    n = len(e.source)
    steps = f"""
        Covariate shift means that the inputs of a network follow another distribution at test time than in training,
        while the label of a given input stays the same:

            p_target(x) != p_source(x),  p_target(y | x) = p_source(y | x)

        This example shows it with a network of one convolution, batch normalization and one dense layer, trained on
        scikit-learn's digits. The source is {n} test images; the target is {n} others in brighter light ({CORRUPTION}
        of severity {SEVERITY}). A bright 3 is still a 3, so p(y | x) is unchanged; but such images do not occur in
        training.

        1. What a layer sees. Batch normalization subtracts the mean and divides by the standard deviation that it has
        kept from training. Map {e.map + 1} of the convolution had mean {e.mean:.3f} and standard deviation {e.sd:.3f}:

            x_hat = (x {"+" if e.mean < 0 else "-"} {abs(e.mean):.3f}) / {e.sd:.3f}

        On the source x_hat has mean {source.mean():.2f} and standard deviation {source.std():.2f}, as it had in
        training. On the target it has mean {target.mean():.2f} and standard deviation {target.std():.2f}. All later
        layers were trained for the first distribution and get the second.

        2. What it costs. The accuracy falls from {before.accuracy:.1%} to {after.accuracy:.1%}, and the negative
        log-likelihood rises from {before.nll:.2f} to {after.nll:.2f}. Errors are not spread evenly, predictions are
        biased: {e.cost.predicted_target[tilted]:.0%} of the target is taken for {tilted}, which is
        {e.cost.predicted_source[tilted]:.0%} of the source's predictions.

        3. How to detect it without labels. If source and target were one distribution, no classifier could tell them
        apart. A logistic regression on the inputs of the last layer tells {e.detection.statistic:.0%} of held-out
        images apart (p = {e.detection.p:.0e}). Whether a shift that is found does harm is another question: the
        accuracy has to be measured on labels, or estimated.

        4. Why weighting cannot repair it here. The error on the target is a weighted error on the source,

            E_target[loss] = E_source[w(x) loss],  w(x) = p_target(x) / p_source(x)

        so one could train on source images with weights w (Shimodaira 2000). This needs source images that look like
        those of the target. Here the classifier of step 3 has an area under the ROC curve of {e.weights.auc:.3f}: the
        distributions hardly overlap. No source image looks like a target image, so that weights cannot help, and jaxcnn
        refuses to weight.

        5. What repairs it. The light has moved and scaled what the convolution computes, and batch normalization can
        undo exactly this, if it uses the statistics of the target in the place of those of training (AdaBN, Li et al.
        2016). No weight is changed and no label is needed; the accuracy is {repaired.accuracy:.1%}. A shift that is no
        change of mean and scale, such as moved or rotated digits, is not repaired in this way; training on such images
        helps there. And the class shares of the target must be those of the source: batches of one class only have
        other statistics without any shift of the light.

        6. What it is not. Under label shift the shares of the classes change and the images of a class do not. Under
        concept shift the label of an image changes; without target labels it cannot be seen. Internal covariate shift
        (Ioffe & Szegedy 2015) is a change during training, of the inputs of a layer as the layers before it learn; a
        network can have the one without the other.
    """
    headings = ("", "accuracy", "nll", "calibration error", f"predicted as {tilted}")
    rows = [
        (name, f"{scores.accuracy:.1%}", f"{scores.nll:.3f}", f"{scores.ece:.3f}", f"{shares[tilted]:.1%}")
        for name, scores, shares in (
            ("source", before, e.cost.predicted_source),
            ("target", after, e.cost.predicted_target),
            ("target, its own statistics", repaired, e.repaired_cost.predicted_target),
        )
    ]
    return [filled(steps), Grid("The network on source and target", headings, tuple(rows))]


def draw_covariate_shift(path: str | Path) -> Path:
    """Draw the explanation as an .svg or .png picture.

    Returns:
        `path`.

    Raises:
        OSError: the file cannot be written.
    """
    e = covariate_shift_example()
    page = blank_page(WIDTH, 622)
    add_text(page, MARGIN, 14, "Covariate shift, step by step", TITLE, va="top", weight="bold")
    note = f"A small network with batch normalization, trained on digits, on {len(e.source)} test images and "
    note += f"{len(e.target)} others in brighter light."
    add_text(page, MARGIN, 40, note, SMALL, va="top", color=MUTED)
    _heading(page, MARGIN, 76, "p(x) changes, p(y | x) does not", "the same classes, other images")
    for row, (name, outputs) in enumerate((("source", e.source), ("target", e.target))):
        y = 126 + 66 * row
        add_text(page, MARGIN, y + 26, name, LABEL, va="center", color=(_SOURCE, _TARGET)[row], weight="bold")
        for place, image in enumerate(outputs.images[:6]):
            shown = image[..., 0].repeat(4, 0).repeat(4, 1)
            add_tile(page, shown, 100 + 58 * place, y, 52, 52, smooth=True, cmap="gray", vmin=0, vmax=255)
    _heading(page, 500, 76, "1  what a layer sees", f"map {e.map + 1} after normalization with statistics of training")
    _distributions(add_panel(page, 500, 126, 440, 150), e)
    _heading(page, MARGIN, 320, "2  what it costs, and  5  what repairs it", "accuracy")
    _accuracies(add_panel(page, 190, 366, 230, 150), e)
    _heading(page, 500, 320, "2  biased predictions", "share of the images with each class as prediction")
    _shares(add_panel(page, 540, 366, 400, 150), e)
    found = f"3  how to detect it: a classifier tells {e.detection.statistic:.0%} of the images apart "
    found += f"(p = {e.detection.p:.0e})"
    refused = (
        f"4  source and target hardly overlap (area under the ROC curve {e.weights.auc:.3f}), so weighting source "
    )
    refused += "images cannot repair it"
    add_text(page, MARGIN, 580, found, SMALL, va="center", color=INK)
    add_text(page, MARGIN, 600, refused, SMALL, va="center", color=INK)
    return save(page, path)


def _heading(page: "Axes", left: float, top: float, title: str, note: str) -> None:
    add_text(page, left, top, title, LABEL, va="top", weight="bold")
    add_text(page, left, top + 21, note, SMALL, va="top", color=MUTED)


def _distributions(panel: "Axes", e: CovariateShift) -> None:
    found = {name: e.normalized(name) for name in ("source", "target")}
    low, high = np.percentile(np.concatenate([*found.values()]), [0.5, 99.5])
    edges = np.linspace(low, high, 60)
    most = 0.0
    for (name, values), colour in zip(found.items(), (_SOURCE, _TARGET), strict=True):
        density, _ = np.histogram(values, edges, density=True)
        panel.stairs(density, edges, fill=True, color=colour, alpha=0.35)
        panel.axvline(values.mean(), ymax=0.76, color=colour, linewidth=2)
        text = f"{name}: mean {values.mean():.2f}, sd {values.std():.2f}"
        most = max(most, density.max())
        y = 0.93 if name == "source" else 0.82
        panel.text(0.99, y, text, transform=panel.transAxes, ha="right", color=colour, fontsize=SMALL, weight="bold")
    panel.set(xlim=(low, high), ylim=(0, 1.35 * most), yticks=[])
    panel.axvline(0, ymax=0.76, color=MUTED, linewidth=0.8, linestyle="--")


def _accuracies(panel: "Axes", e: CovariateShift) -> None:
    scores = {
        "source": (e.cost.source, _SOURCE),
        "target": (e.cost.target, _TARGET),
        "target, with its\nown statistics": (e.repaired_cost.target, _REPAIRED),
    }
    for row, (name, (score, colour)) in enumerate(scores.items()):
        panel.barh(-row, score.accuracy, color=colour, height=0.62)
        panel.hlines(-row, *score.accuracy_interval, color=INK, linewidth=1.4)
        add_text(panel, 1.03, -row, f"{score.accuracy:.1%}", LABEL, va="center")
        add_text(panel, -0.03, -row, name, SMALL, ha="right", va="center")
    panel.set(xlim=(0, 1), ylim=(-2.5, 0.5), yticks=[])
    panel.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])


def _shares(panel: "Axes", e: CovariateShift) -> None:
    across = np.arange(len(e.cost.predicted_source))
    panel.bar(across - 0.2, e.cost.predicted_source, width=0.36, color=_SOURCE)
    panel.bar(across + 0.2, e.cost.predicted_target, width=0.36, color=_TARGET)
    panel.set_xticks(across, [str(c) for c in across])
    panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    panel.grid(True, axis="y", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
