"""What a person reads on the command line is Chinese if that is wanted, and only then."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from command_line import Tenfold
from source_texts import SOURCE, all_texts, modules, templates, texts_in, tree_of
from tenfold.cli.app import app
from tenfold.recipes import load_recipe, recipe_names
from tenfold.reporting.columns import columns_of, in_table, paragraph
from tenfold.reporting.language import language, note_on_language
from tenfold.reporting.translation import (
    TO_THE_RIGHT,
    WHOLE,
    Translator,
    templates_of,
    translator,
)
from thoroughness import some

TABLE: dict[str, dict[str, str]] = tomllib.loads(
    (SOURCE / "reporting/languages/zh.toml").read_text("utf-8")
)

WITHOUT_PLACES = ("help", "headings", TO_THE_RIGHT)

OF_OTHERS = {
    # with a library's reason after them
    "the image{0} is damaged or truncated: {1}",
    "the archive is damaged or cannot be read: {0}",
    "the .npz file is damaged or truncated: {0}",
    "not an image",  # of several files, without what differs in them
    "{0}%",
    "{0} or {1}",  # the formats of images
    "missing argument '{0}'",  # typer's
    "missing option '{0}'",
    *map(os.strerror, (1, 2, 13, 20, 21, 28, 32)),  # the system's
    *(load_recipe(name).description for name in recipe_names()),
}
"""English that is not in the sources as such."""

NOTES = {
    "training/advice.py": (
        "after_epoch",
        "_stuck",
        "advice_on_the_last_steps",
        "advice_on_few_steps",
    ),
    "recipes/choosing.py": ("in_words", "warning"),
    "runs/run.py": ("note_on_run",),
    "runs/own_network.py": ("differences_in_code",),
    "runs/starting.py": ("note_on_names", "put_into", "freeze", "may_have_seen"),
    "runs/resume.py": ("_restore", "_nothing_to_do"),
    "runs/preparing.py": ("NO_TEST_TO_SHOW", "SHOWS_TEST"),
    "deployment/differences.py": ("notes", "_those"),
    "deployment/bundle.py": ("note_on_code",),
    "data/checks/brief.py": ("_on_equal_images", "_on_blank_images"),
    "data/folders/fitting.py": ("fitting_note", "_cost"),
    "data/folders/damage.py": ("left_out_note",),
    "data/folders/layout.py": ("notes", "lookalikes"),
    "evaluation/report.py": ("note",),
    "models/mistakes/checking.py": (
        "_about_frozen",
        "_about_printing",
        "_try_training",
        "_try_evaluation",
    ),
    "models/mistakes/forgetting.py": ("forgotten_in_training",),
    "reporting/pages/report_facts.py": ("concern",),
}
"""By module, the functions and constants that make notes."""

CHINESE = re.compile("[\u4e00-\u9fff]")

PROSE = re.compile(r"(?<![\w./{-])[a-z]+ [a-z]+ [a-z]+(?![\w./}=])")
"""Three English words in a row."""


def entries() -> Iterator[tuple[str, str, str]]:
    """Section, English and Chinese."""
    for section, texts in TABLE.items():
        for english, chinese in texts.items():
            yield section, english, chinese


def known() -> set[str]:
    """The English of all sections with places."""
    return {english for section, english, _ in entries() if section not in WITHOUT_PLACES}


def has_words(template: str) -> bool:
    """Whether it says something by itself."""
    return len(re.findall(r"[a-z]{2,}", re.sub(r"\{\d+\}", "", template))) > 1


def test_every_note_has_its_chinese() -> None:
    noted = {
        template
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "note" and node.args
        for template in templates(node.args[0])
    }
    assert len(noted) > 70
    assert sorted({each for each in noted if has_words(each)} - known()) == []


def made_in(module: str, name: str) -> set[str]:
    """The texts of a function that are not an error's, or of a constant."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        match node:
            case ast.FunctionDef(name=own) if own == name:
                raised = {
                    id(inner)
                    for statement in ast.walk(node)
                    if isinstance(statement, ast.Raise)
                    for inner in ast.walk(statement)
                }
                wholes = [
                    each
                    for each in ast.walk(node)
                    if isinstance(each, ast.JoinedStr | ast.BinOp | ast.AugAssign)
                    if id(each) not in raised
                ]
                inside = {id(x) for whole in wholes for x in ast.walk(whole) if x is not whole}
                found |= texts_in(whole for whole in wholes if id(whole) not in inside)
            case ast.Assign(targets=[ast.Name(own)], value=value) if own == name:
                found |= templates(value)
    assert found, f"{module}: no text in {name}"
    if any("\n" in text for text in found):
        pytest.fail(f"{module}: a note of several lines in {name}")
    return found


@pytest.mark.parametrize("module", NOTES)
def test_every_computed_note_has_its_chinese(module: str) -> None:
    made = {text for name in NOTES[module] for text in made_in(module, name)}
    assert sorted({each for each in made if has_words(each)} - known()) == []


def help_texts() -> set[str]:
    """All paragraphs of the help of all commands."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("tenfold", ["info"], resilient_parsing=True)
    commands = [group, *(group.get_command(context, name) for name in group.list_commands(context))]
    texts = [group.epilog]
    for command in commands:
        texts += [command.help, getattr(command, "rich_help_panel", None)]
        texts += [getattr(parameter, "help", None) for parameter in command.get_params(context)]
    shown = (text for text in texts if isinstance(text, str))
    return {" ".join(part.split()) for text in shown for part in text.split("\n\n")}


OF_TYPER = {
    *("Usage: ", "[OPTIONS]", "COMMAND [ARGS]...", "Arguments", "Options", "Commands"),
    *("[default: {}]", "[required]"),
}


def test_all_help_is_in_the_table() -> None:
    assert len(help_texts()) > 100
    assert help_texts() | OF_TYPER == set(TABLE["help"])


def test_no_entry_is_of_a_text_that_is_gone() -> None:
    def is_there(english: str) -> bool:
        # What is wrong with a file is also said without its name, as `{0}: cannot be read: {1}`.
        of_file = re.sub(r"\{(\d+)\}", lambda place: f"{{{int(place[1]) + 1}}}", english)
        noun = re.fullmatch(r"\{0\} \{([a-z -]+)\|\1s\}", english)
        return {
            english,
            f"{{0}}: {of_file}",
            noun[1] if noun else english,
        } & all_texts() != set() or english in OF_OTHERS

    assert {load_recipe(name).description for name in recipe_names()} <= known()
    gone = [
        english
        for section, english, _ in entries()
        if section not in ("help", "headings", TO_THE_RIGHT) and not is_there(english)
    ]
    assert gone == []
    headings = {*TABLE["headings"], *TABLE[TO_THE_RIGHT]}
    words = {word for text in all_texts() for word in re.split(r"  +", text)}
    assert headings <= words


@pytest.mark.parametrize("section", TABLE)
def test_english_and_chinese_have_the_same_places(section: str) -> None:
    for english, chinese in TABLE[section].items():
        places = re.findall(r"\{(\d*)\}", english)
        filled = set(re.findall(r"\{(\d*)(?:[:!;,+]\w+)?\}", chinese))
        assert set(places) == filled, english
        assert places == [str(n) for n in range(len(places))] or places == [""], english
        for named in re.findall(r"\{\d+[:!;,+](\w+)\}", chinese):
            assert named in {*TABLE, "texts", "anything"}, english


def test_every_section_is_used() -> None:
    named = {
        name for *_, chinese in entries() for name in re.findall(r"\{\d+[:!;,+](\w+)\}", chinese)
    }
    assert set(TABLE) - {*WHOLE, *WITHOUT_PLACES} <= named


@pytest.mark.parametrize("section", TABLE)
def test_chinese_is_written_as_chinese(section: str) -> None:
    """No English sentence; full-width marks beside Chinese, and no space before them."""
    for english, chinese in TABLE[section].items():
        bare = re.sub(r"\{\d*\}", "X", re.sub(r"\{\d+[:!;,+]\w+\}", "字", chinese))
        bare = re.sub(r"`[^`]*`|'[^']*'|(tenfold|train|pip) [-a-z./]+( [a-z]+)*", "X", bare)
        assert CHINESE.search(bare) or not has_words(english), english
        assert not PROSE.search(bare), chinese
        assert not re.search(r"[\u4e00-\u9fff][,;:!?()]|[,;:!?(][\u4e00-\u9fff]", bare), chinese
        assert not re.search(r" [，。；：、（）]|[，。；、（）] ", bare), chinese


def test_what_is_not_in_the_table_stays_english() -> None:
    """No text of the sources becomes half Chinese by a template that fits by chance."""
    say = translator("zh").text
    given = {
        template
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and "Error" in ast.unparse(node.func)
        for part in [*node.args[:1], *(each.value for each in node.keywords)]
        for template in templates(part)
    }
    assert len(given) > 900
    for template in sorted(given - known()):
        text = re.sub(r"\{\d+\}", "X", re.sub(r"\{([^{}|]+)\|[^{}]*\}", r"\1", template))
        said = say(text)
        assert said == text or not PROSE.search(re.sub(r"`.*?`|'.*?'", "", said)), (text, said)


ADJACENT = {
    "left out {0} that cannot be read: {1}{2}": [
        ("3 images", "not an image: a.png; cannot be read: No such file or directory: b.png", ""),
        "跳过了 3 张图片，它们无法读取：不是图片：a.png；无法读取：没有这个文件或文件夹：b.png",
        ("12 images", "not an image: a.png", "; all are listed in bad.txt"),
        "跳过了 12 张图片，它们无法读取：不是图片：a.png；全部列在 bad.txt 里",
    ],
    "{0}: the run has not finished (status: {1}), its model is from {2}{3}": [
        ("runs/a", "interrupted", "epoch 3", "; finish it with: tenfold resume runs/a"),
        "runs/a：训练还没有完成（状态：已中断），模型取自第 3 轮；接着训练：tenfold resume runs/a",
        ("runs/a", "running", "an earlier epoch", ""),
        "runs/a：训练还没有完成（状态：训练中），模型取自较早的一轮",
    ],
    "{0}  {1}{2}: such as {3}": [
        (
            "12",
            "two-labels",
            " (32 images)",
            "train/3, train/8: the same image is labeled 'a', 'b'",
        ),
        "12  two-labels（32 张图片）：例如 train/3, train/8：同一张图片的标签有 'a'、'b'",
        (" 2", "empty-class", "", "'cat' has no images"),
        " 2  empty-class：例如 'cat' 没有图片",
    ],
    "--labels {0}: {1}{2}": [
        ("x.csv", "no such file", "; beside the images there are 'a.csv', 'b.csv'"),
        "--labels x.csv：没有这个文件；图片旁边有 'a.csv'、'b.csv'",
        ("x.csv", "this is a folder, wanted a file", ""),
        "--labels x.csv：这是文件夹，应为文件",
    ],
    "{0} in epoch {1}{2}": [
        ("the loss became nan", "3", ", batch 35, at a learning rate of 45.0222"),
        "第 3 轮第 35 批（学习率 45.0222）：损失变成了 nan",
        ("fc.weight became infinite or undefined", "1", ", up to batch 5, at a learning rate of 9"),
        "第 1 轮（到第 5 批为止，学习率 9）：权重 fc.weight 变成了无穷大或 NaN",
        ("the validation loss became inf", "3", ""),
        "第 3 轮：验证损失变成了 inf",
    ],
    "{0}: it defines {1}{2}": [
        ("net.py", "2 networks", ": Net, Other"),
        "net.py：里面定义了 2 个网络：Net、Other",
        ("net.py", "0 networks", ""),
        "net.py：里面定义了 0 个网络",
    ],
    "{0}, but gets {1}{2}": [
        ("fc takes 9 features per image", "144", ": conv gives 4 x 6 x 6, which is 144 numbers"),
        "fc 每张图片要 9 个特征，却得到 144 个：conv 的输出是 4 x 6 x 6，即 144 个数",
        ("fc takes 9 features per image", "64", ": the images are 1 x 8 x 8, which is 64 numbers"),
        "fc 每张图片要 9 个特征，却得到 64 个：图片是 1 x 8 x 8，即 64 个数",
        ("fc takes 9 features per image", "7", ": layer 3 (Linear) gives 7"),
        "fc 每张图片要 9 个特征，却得到 7 个：layer 3 (Linear) 的输出是 7 个数",
        ("fc takes 9 features per image", "144", ""),
        "fc 每张图片要 9 个特征，却得到 144 个",
    ],
    "{0} takes {1}, but gets {2}{3}": [
        ("conv1", "1 channel", "3", "; the images have 3"),
        "conv1 要 1 个通道，却得到 3 个；图片有 3 个",
        ("conv2", "6 channels", "16", ""),
        "conv2 要 6 个通道，却得到 16 个",
    ],
    "{0}.forward returns a {1} of {2}{3}, wanted one tensor, the logits": [
        ("Net", "tuple", "2", " (return self.fc(x), x)"),
        "Net.forward 返回 tuple，共 2 项（return self.fc(x), x）；应为一个张量，即 logits",
        ("Net", "dict", "3", ""),
        "Net.forward 返回 dict，共 3 项；应为一个张量，即 logits",
    ],
    "{0}.forward returns an object of type {1}{2}, wanted a tensor, the logits": [
        ("Net", "ndarray", " (return x.numpy())"),
        "Net.forward 返回的类型是 ndarray（return x.numpy()），应为张量，即 logits",
        ("Net", "str", ""),
        "Net.forward 返回的类型是 str，应为张量，即 logits",
    ],
    "{0} gives {1}{2}, wanted logits, floats that training can improve": [
        ("Net", "torch.int64", " (return x.argmax(1))"),
        "Net 给出 torch.int64（return x.argmax(1)），应为 logits，即训练能够改进的浮点数",
        ("Net", "torch.bool", ""),
        "Net 给出 torch.bool，应为 logits，即训练能够改进的浮点数",
    ],
    "its code calls {0}{1}": [
        ("sin", ""),
        "代码里调用了 sin",
        ("flatten", " with arguments that no layer has"),
        "代码里调用了 flatten，参数超出了层的范围",
    ],
    "its module {0} is {1}{2}": [
        ("norm", "LayerNorm", ""),
        "模块 norm 是 LayerNorm",
        ("conv", "Conv2d", " with options that no layer has"),
        "模块 conv 是 Conv2d，选项超出了层的范围",
    ],
    "put {0} into {1}{2}; or set {3} to a folder that contains {4}": [
        ("a.gz", "/d/MNIST", ", gzipped or not", "TENFOLD_DATA", "MNIST"),
        "把 a.gz 放进 /d/MNIST（gzip 压缩过的也可以）；或者把 TENFOLD_DATA 设为包含 MNIST 的文件夹",
        ("a", "/d/cifar", ", or c.tar.gz into /d", "TENFOLD_DATA", "cifar"),
        "把 a 放进 /d/cifar，或者把 c.tar.gz 放进 /d；或者把 TENFOLD_DATA 设为包含 cifar 的文件夹",
    ],
    "write self.{0} = {1}{2}": [
        ("fc", "nn.Linear(3, 4)", " in Block"),
        "请写 self.fc = nn.Linear(3, 4)（在 Block 里）",
        ("fc", "nn.Linear(3, 4)", ""),
        "请写 self.fc = nn.Linear(3, 4)",
    ],
}
"""By templates with places side by side: what stands in the places, and the Chinese, in turn."""


def test_places_side_by_side_are_told_apart() -> None:
    say = translator("zh").text
    assert set(ADJACENT) == {
        english
        for section, english, _ in entries()
        if section not in WITHOUT_PLACES
        if any("" in literals[1:-1] for literals in templates_of(english))
    }
    for template, cases in ADJACENT.items():
        given = [case for case in cases if isinstance(case, tuple)]
        wanted = [case for case in cases if isinstance(case, str)]
        blame = "the network is not a list of layers that the kernels support: "
        begins = (blame, say(blame)) if template.startswith("its ") else ("", "")
        texts = [begins[0] + template.format(*values) for values in given]
        assert [say(text) for text in texts] == [begins[1] + text for text in wanted]


def test_a_place_after_another_names_a_section_of_what_it_may_begin_with() -> None:
    for section, english, chinese in entries():
        for literals in templates_of(english) if section not in WITHOUT_PLACES else ():
            for number in (n for n in range(1, len(literals) - 1) if not literals[n]):
                (named,) = re.findall(rf"\{{{number}[:!](\w+)\}}", chinese)
                assert all(first[0] for each in TABLE[named] for first in templates_of(each)), named


WHOLE_MESSAGES = {
    "the batch cannot become (4, 9): there are 144 per image, not 9": (
        "这一批不能变成 (4, 9)：每张图片有 144 个数，而不是 9 个"
    ),
    "the batch cannot become (4, 9): x is 8 x 8, which is 64 numbers per image, not 9": (
        "这一批不能变成 (4, 9)：每张图片的 x 是 8 x 8，即 64 个数，而不是 9 个"
    ),
    "18 of the 18 test images are also training images, pixel for pixel": (
        "18 张测试图片中有 18 张也在训练集里，像素完全相同"
    ),
    "1 of 9 images cannot be read: the image is damaged or truncated: it ends early: a.png": (
        "9 张图片中有 1 张无法读取：图片已损坏或不完整：it ends early：a.png"
    ),
    "pets: 2 of 8 images cannot be read: not an image: it is text that starts with 'x', wanted "
    "PNG, HEIC or PNM: b/5.png; the image (60 bytes) is damaged or truncated: it ends: a/4.png": (
        "pets：8 张图片中有 2 张无法读取：不是图片：它是文字，开头是 'x'，应为 PNG、HEIC 或 PNM："
        "b/5.png；图片（60 字节）已损坏或不完整：it ends：a/4.png"
    ),
    "1  two-labels: a/1.png, a/2.png and 3 more: the same image is labeled 'a', 'b'": (
        "1  two-labels：a/1.png, a/2.png，另有 3 个：同一张图片的标签有 'a'、'b'"
    ),
    "a.png: not an image: the file is empty, wanted PNG, JPEG 2000 or PNM": (
        "a.png：不是图片：文件是空的，应为 PNG、JPEG 2000 或 PNM"
    ),
    "/no: the folder of data sets named by TENFOLD_DATA does not exist": (
        "/no：数据集文件夹（由 TENFOLD_DATA 指定）不存在"
    ),
    "training with PyTorch instead of compiled kernels: the precision is half, wanted float32": (
        "由 PyTorch 训练，没有用编译好的内核：precision 是 half，应为 float32"
    ),
    "choose one of: onnx, state-dict": "可选：onnx、state-dict",
    "few training images, so little can be learned about: 'a, b' (6), 'cat' (7)": (
        "训练图片很少，学不到多少：'a, b'（6）、'cat'（7）"
    ),
    "ignored folders without images: photo (1), b": "忽略了没有图片的文件夹：photo (1), b",
    "the image is 9 x 8, scaled to 8x8 (height x width) and cropped: of 1 of 1 image, on average "
    "10%, at most 10%, of the area is cut off": (
        "图片是 9 x 8，缩放到 8x8（高 x 宽）"
        "并裁剪：1 张图片中有 1 张平均有 10 %、最多有 10 % 的面积被裁掉"
    ),
    "epochs is 0, wanted 1..30": "epochs 是 0，应为 1..30",
    "lr is -1, wanted at least 0": "lr 是 -1，应为不小于 0 的数",
    "1 run to compare, wanted two or more; runs/a was named twice, and counts once": (
        "只有 1 次训练可比较，至少要两次；runs/a 写了两遍，只算一次"
    ),
    "leave out pool or an earlier pooling layer, or load larger images (image_size)": (
        "请去掉 pool 或前面的一个池化层，或者放大图片（image_size）"
    ),
    "mnist: train 60,000, test 10,000": "mnist：训练 60,000，测试 10,000",
    "recipe none.toml: no such file": "配方 none.toml：没有这个文件",
    "test image 0 (2): 6 0.615": "测试图片 0（2）：6 0.615",
    "most like  train image 308: 6 (0.208)": "相似       训练图片 308：6（0.208）",
    "           a b.png: 6 (0.208)": "           a b.png: 6 (0.208)",
    "chosen for this data: 3 epochs of 8 steps; normalize none; augment nothing": (
        "根据数据选定：3 轮，每轮 8 步；不做标准化；不做数据增强"
    ),
    "checked  9 test images with X: largest difference of a logit 0, no class changed except in "
    "2 near-ties": (
        "核对     9 张测试图片，用 X：logit 最大相差 0，除 2 张概率几乎并列的图片外，类别没有变化"
    ),
    "after epoch 2 and 9 steps, the training loss is 2.31, and a model that gives one answer for "
    "every image gets 2.3, so this one has learned next to nothing yet: give it more epochs, or "
    "try learning rates ten times lower and ten times higher (it went up to 0.1)": (
        "第 2 轮、9 步之后，训练损失是 2.31，而对所有图片只给一个回答的模型是 2.3，"
        "所以它几乎还什么都没学到："
        "多训练几轮，或者试试把学习率降到十分之一、提高到十倍（最高到过 0.1）"
    ),
}
"""Messages of several parts, and their Chinese."""


@pytest.mark.parametrize("english", WHOLE_MESSAGES)
def test_all_parts_of_a_message_are_chinese(english: str) -> None:
    assert translator("zh").text(english) == WHOLE_MESSAGES[english]


def test_chinese_in_a_place_has_no_space_beside_chinese() -> None:
    table = {
        "notes": {"try {0} or {1}": "试试 {0:try} 或 {1:try} 吧"},
        "try": {"more": "更多", "lr {0}": "lr {0}"},
    }
    say = Translator(table).text
    assert say("try more or lr 3") == "试试更多或 lr 3 吧"
    assert say("try lr 3 or more") == "试试 lr 3 或更多吧"
    assert say("try 多 or 少") == "试试 多 或 少 吧"  # names stay as they are


def test_names_in_quotes_are_not_divided() -> None:
    table = {"notes": {"lacks {0}": "缺少 {0+names}"}, "names": {"other": "其他"}}
    assert Translator(table).text("lacks 'a, b', other, \"it's, c\"") == (
        "缺少 'a, b'、其他、\"it's, c\""
    )


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_LANG", "zh")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, which tests must not change."""
    from tenfold import train

    folder = tmp_path_factory.mktemp("trained")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(folder / "set.npz", images=images, labels=np.arange(60) % 3)
    train(folder / "set.npz", model="softmax", epochs=1, out=folder / "run", quiet=True)
    return folder / "run"


@pytest.fixture
def place(tmp_path: Path, trained: Path) -> Path:
    """The working directory, with what commands are wrong about."""
    (tmp_path / "trained").symlink_to(trained)
    (tmp_path / "set.npz").symlink_to(trained.parent / "set.npz")
    for folder in ("empty", "full", "pets/cats", "pets/dogs", "flat", "broken/a", "broken/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "full/notes.txt").write_text("kept")
    for name in ("pets/cats/1.png", "pets/dogs/1.png", "flat/1.png", "broken/a/1.png"):
        Image.new("L", (8, 8), 99).save(tmp_path / name)
    (tmp_path / "broken/b/2.png").write_text("no image")
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    (tmp_path / "words.toml").write_text("no TOML at all")
    for name, code in NETWORKS.items():
        (tmp_path / name).write_text(f"from torch import nn\n\n{code}")
    return tmp_path


_NET = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"

NETWORKS = {
    "typo.py": "class Net(nn.Module)\n    pass\n",
    "none.py": "x = 1\n",
    "sizes.py": f"{_NET}        self.fc = nn.Linear(10, 3)\n"
    "    def forward(self, x):\n        return self.fc(x.flatten(1))\n",
    "nothing.py": f"{_NET}        self.fc = nn.Linear(64, 3)\n"
    "    def forward(self, x):\n        print(self.fc(x.flatten(1)).shape)\n",
    "softmax.py": f"{_NET}        self.fc = nn.Linear(64, 3)\n"
    "    def forward(self, x):\n        return self.fc(x.flatten(1)).softmax(1)\n",
    "outputs.py": f"{_NET}        self.fc = nn.Linear(64, 7)\n"
    "    def forward(self, x):\n        return self.fc(x.flatten(1))\n",
    "lists.py": f"{_NET}        self.layers = [nn.Linear(64, 3)]\n"
    "    def forward(self, x):\n        return self.layers[0](x.flatten(1))\n",
    "early.py": "class Net(nn.Module):\n    def __init__(self):\n"
    "        self.fc = nn.Linear(64, 3)\n",
    "attribute.py": f"{_NET}        self.fc1 = nn.Linear(64, 3)\n"
    "    def forward(self, x):\n        return self.fc2(x.flatten(1))\n",
    "wrong_call.py": f"{_NET}        self.fc = nn.Linear(64, 3)\n"
    "    def forwards(self, x):\n        return self.fc(x.flatten(1))\n",
}
"""Networks with the mistakes of beginners."""

WRONG = {
    "wrong data name": "train digts",
    "missing folder": "train pictures/cats",
    "no data": "train",
    "no images": "train empty",
    "images without classes": "train flat",
    "one class only": "train pets/cats",
    "broken files": "train broken",
    "unknown option": "train digits --epoch 3",
    "option of other programs": "train digits --learning-rate 0.1",
    "unknown command": "tran digits",
    "data in place of a command": "digits",
    "missing argument": "evaluate",
    "too many arguments": "train digits mnist",
    "option without a value": "train digits --epochs",
    "flag with a value": "train digits --plot true",
    "unknown model": "train digits --model resnet81",
    "unknown recipe": "train digits --recipe lenet-mnits",
    "unknown key": "train digits --set epochss=3",
    "unknown argument of a model": "train digits --model mlp --set model_args.hiden=3",
    "unknown optimizer": "train digits --optimizer adm",
    "setting without =": "train digits --set lr",
    "lr is a word": "train digits --lr high",
    "lr is negative": "train digits --lr -1",
    "epochs is 0": "train digits --epochs 0",
    "epochs is broken": "train digits --epochs 2.5",
    "batch size": "train digits --batch-size 0",
    "time": "train digits --time soon",
    "several mistakes": "train digits --set epochs=0 --set lr=a --set oops=1",
    "not TOML": "train digits --recipe bad.toml",
    "wrong device": "train digits --device gpu",
    "missing device": "train digits --device mps",
    "wrong engine": "train digits --engine fast",
    "threads": "train digits --threads 0",
    "folder in use": "train set.npz --out full",
    "folds and seeds": "train digits --folds 3 --seeds 3",
    "no such run": "evaluate runs/first",
    "no such run to resume": "resume runs/first",
    "folder that is no run": "evaluate full",
    "a run in place of data": "train trained",
    "a recipe in place of data": "train words.toml",
    "wrong split": "evaluate trained --split tst",
    "predict without images": "predict trained/model.safetensors",
    "images before the run": "predict bad.png trained",
    "broken image": "predict trained bad.png",
    "missing image": "predict trained nowhere.png",
    "unknown format": "export trained --to onx",
    "neither model nor run": "summary lenett",
    "nothing to open": "compare trained trained --open",
    "unknown finding": "check set.npz --ignore twin",
    "runs in no folder": "runs nowhere",
    "fewer epochs": "resume trained --epochs 0",
    "syntax error": "train set.npz --model typo.py:Net",
    "missing file of code": "train set.npz --model nowhere.py:Net",
    "no network in the file": "train set.npz --model none.py",
    "unknown network": "train set.npz --model sizes.py:Nett",
    "wrong features": "train set.npz --model sizes.py:Net",
    "nothing returned": "train set.npz --model nothing.py:Net",
    "softmax": "train set.npz --model softmax.py:Net",
    "wrong number of outputs": "train set.npz --model outputs.py:Net",
    "layers in a list": "train set.npz --model lists.py:Net",
    "no super().__init__()": "train set.npz --model early.py:Net",
    "misspelt layer": "train set.npz --model attribute.py:Net",
    "misspelt forward": "train set.npz --model wrong_call.py:Net",
    "infinite loss": "train set.npz --model softmax --epochs 3 --lr 1e30 --set clip_norm=0",
}
"""Command lines with the mistakes that people make most."""


@pytest.mark.parametrize("line", some(WRONG.values(), 12), ids=some(WRONG, 12))
def test_an_error_is_chinese(line: str, place: Path, tenfold: Tenfold, chinese: None) -> None:
    answer = tenfold(*line.split())
    said = answer.err.splitlines()[-1]
    assert answer.code != 0
    assert said.startswith("tenfold: ")
    assert CHINESE.search(said), said
    assert not PROSE.search(re.sub(r"'[^']*'|tenfold [a-z]+( [\w./-]+)*", "", said[9:])), said


def test_training_is_told_in_chinese(tenfold: Tenfold, chinese: None) -> None:
    """Names of figures, and commands and paths, stay."""
    answer = tenfold("train", "digits", "--epochs", "1", "--model", "softmax", "--out", "run")
    assert answer.code == 0
    (epoch,) = [line for line in answer.err.splitlines() if line.startswith("第")]
    notes = [line for line in answer.err.splitlines() if line != epoch]
    assert len(notes) > 1
    assert [note for note in notes if not note.startswith("提示：")] == []
    assert epoch.startswith("第 1/1 轮：train_loss ")
    assert epoch.endswith(" 秒")
    results = answer.out.splitlines()
    assert results[0].startswith("test_acc ")
    assert "95 % 区间" in results[0]
    assert [line.split()[0] for line in results[2:6]] == ["引擎", "训练", "模型", "报告"]
    told = "\n".join([*notes, *results])
    assert not PROSE.search(re.sub(r"tenfold [-a-z]+ .*", "", told))


READINGS = (
    "data digits", "data", "evaluate trained", "predict trained --min-confidence 1", "runs",
)  # fmt: skip
"""Commands that only look."""


@pytest.mark.parametrize("line", READINGS)
def test_json_is_the_same_in_all_languages(
    line: str, place: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(chosen: str) -> str:
        monkeypatch.setenv("TENFOLD_LANG", chosen)
        return tenfold(*line.split(), "--json").out

    assert answered("zh") == answered("en")
    assert json.loads(answered("zh"))["schema"] == 1


def test_a_run_is_the_same_in_all_languages(place: Path, tenfold: Tenfold, chinese: None) -> None:
    """What a run writes is English, and so is its JSON."""
    line = "train set.npz --model softmax --epochs 1 --out zh --json"
    assert tenfold(*line.split()).code == 0
    text = "".join((place / "zh" / name).read_text("utf-8") for name in ("run.json", "report.html"))
    assert not CHINESE.search(text)
    assert not CHINESE.search(tenfold("resume", "zh", "--json").out)
    refused = tenfold("train", "digts", "--json")
    assert json.loads(refused.out)["error"]["message"].startswith("'digts' is neither")
    assert CHINESE.search(refused.err)


@pytest.mark.parametrize("line", READINGS)
def test_results_are_chinese(
    line: str, place: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    english = tenfold(*line.split()).out
    monkeypatch.setenv("TENFOLD_LANG", "zh")
    said = tenfold(*line.split()).out
    assert CHINESE.search(said)
    assert said.count("\n") == english.count("\n")


def test_headings_keep_their_columns() -> None:
    table = [
        "class       n  precision  recall      f1  most often taken for",
        "0          36      0.795   0.972   0.875  6 (1)",
    ]
    head, row = translator("zh").lines("\n".join(table)).split("\n")
    assert row == table[1]
    for english, chinese in (("precision", "精确率"), ("recall", "召回率")):
        end = table[0].index(english) + len(english)
        assert columns_of(head[: head.index(chinese) + len(chinese)]) == end
    assert columns_of(head[: head.index("最常")]) == table[0].index("most")


def test_chinese_cells_are_two_columns_wide() -> None:
    lines = in_table(["名字", "n"], [["猫", "12"], ["cat", "3"]], left=["名字"])
    assert lines == ["名字   n", "猫    12", "cat    3"]
    assert {columns_of(line) for line in lines} == {8}


def test_paragraphs_break_between_characters_but_not_before_a_comma() -> None:
    lines = paragraph("训练图片很少，所以 softmax 学不到多少。", 14)
    assert lines == ["训练图片很少，", "  所以 softmax", "  学不到多少。"]
    assert max(map(columns_of, lines)) <= 14


def test_help_is_chinese_and_fits(tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch) -> None:
    english = tenfold("train", "--help").out
    monkeypatch.setenv("TENFOLD_LANG", "zh_CN.UTF-8")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    said = tenfold("train", "--help").out
    assert "用法：tenfold train [选项] [DATA]" in said
    assert "NAME|FILE.py:NAME" in said  # metavars stay
    assert {columns_of(line) for line in said.splitlines() if line.startswith(("│", "╭"))} == {80}
    assert not PROSE.search(said)
    assert "…" not in said
    monkeypatch.setenv("TENFOLD_LANG", "en")
    monkeypatch.delenv("COLUMNS")
    assert tenfold("train", "--help").out == english


VARIABLES = ("TENFOLD_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "en"),
        ({"TENFOLD_LANG": "zh"}, "zh"),
        ({"TENFOLD_LANG": "zh_CN"}, "zh"),
        ({"TENFOLD_LANG": "zh-Hans"}, "zh"),
        ({"TENFOLD_LANG": "ZH_TW.UTF-8"}, "zh"),
        ({"TENFOLD_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"TENFOLD_LANG": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "zh_CN.GB18030", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "C.UTF-8", "LC_MESSAGES": "zh_CN", "LANG": "zh_CN"}, "en"),
        ({"LC_ALL": "", "LANG": "zh"}, "zh"),
        ({"LANG": "zhang"}, "en"),
        ({"TENFOLD_LANG": "fr", "LANG": "zh_CN.UTF-8"}, "zh"),
    ],
    ids=str,
)
def test_the_environment_chooses_the_language(
    values: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert language(io.TextIOWrapper(io.BytesIO(), "utf-8")) == expected
    assert language(io.TextIOWrapper(io.BytesIO(), "gb18030")) == expected
    assert language(io.TextIOWrapper(io.BytesIO(), "ascii")) == "en"
    assert language(io.TextIOWrapper(io.BytesIO(), "latin-1")) == "en"


def test_an_unknown_language_is_said_once(
    tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENFOLD_LANG", "fr")
    for name in VARIABLES[1:]:
        monkeypatch.delenv(name, raising=False)
    assert note_on_language() == "TENFOLD_LANG is 'fr', wanted en or zh"
    assert tenfold("data").err == "note: TENFOLD_LANG is 'fr', wanted en or zh\n"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert tenfold("data").err == "提示：TENFOLD_LANG 是 'fr'，应为 en 或 zh\n"


@pytest.mark.parametrize(("encoding", "loads"), [("ascii", False), ("utf-8", True)])
def test_a_process_loads_the_table_only_to_show_chinese(encoding: str, loads: bool) -> None:
    code = (
        "import sys; sys.argv = ['tenfold', 'data', 'digts']; from tenfold.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(*('tenfold.reporting.translation' in sys.modules, 'torch' in sys.modules))"
    )
    environment = os.environ | {"TENFOLD_LANG": "zh", "PYTHONIOENCODING": encoding}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding=encoding
    )
    assert ("没有" in answer.stderr or "既不是" in answer.stderr) == loads
    assert answer.stdout == f"{loads} False\n"


def test_hostile_names_are_translated_quickly_and_kept() -> None:
    """No template takes more than one pass over a text, and names stay as they are."""
    name = "a: b; c, d and 3 more (e) is f, wanted g " * 25
    said = Translator(TABLE).text(f"{name}: already exists and is not an empty folder")
    assert said.endswith("：已经存在，而且不是空文件夹")
    assert said.startswith(name.strip()[:40])
    Translator(TABLE).text(name)
