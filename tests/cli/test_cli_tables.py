"""`info`, `presets` and `data list` print the papers' numbers."""

import pytest
from cli_samples import call

from fake_files import write_mnist
from fourfold.data import DATASETS
from fourfold.presets.papers import PRESETS

PAPER_1 = {
    "lenet-300-100": "266,610 67,710 – –",
    "lenet-12": "9,550 2,494 – –",
    "conv-2": "4,301,642 1,077,962 38,720 9,920",
    "conv-4": "2,425,930 609,226 260,160 65,472",
    "conv-6": "2,262,602 568,778 1,145,408 287,168",
}
PAPER_2 = {
    "resnet-18": "11,682,408 2,928,552",
    "resnet-34": "21,790,568 5,461,160",
    "resnet-50": "25,549,928 6,428,072",
    "resnet-101": "44,542,056 11,215,272",
    "resnet-152": "60,185,704 15,160,744",
}


def lines(*words):
    ended = call(*words)
    assert (ended.code, ended.err) == (0, "")
    return [line.split() for line in ended.out.splitlines() if line.strip()]


@pytest.mark.slow
def test_info_prints_the_papers_tables():
    table = lines("info", "--tables")
    for name, numbers in {**PAPER_1, **PAPER_2}.items():
        assert [name, *numbers.split()] in table


@pytest.mark.parametrize("name", ["conv-2", "conv2", "Conv_2"])
def test_info_prints_a_model_layer_by_layer_in_both_algebras(name):
    table = lines("info", name)
    assert ["Conv-2,", "real,", "10", "classes,", "input", "3×32×32"] in table
    assert ["Conv-2,", "quaternion,", "10", "classes,", "input", "4×32×32"] in table
    assert ["conv1", "Conv2d", "real", "64×32×32", "1,728", "1,792", "1,769,472"] in table
    # 4 · 64 · 9 / 4 weights, each of which does four MACs at each of 32 · 32 places
    assert ["conv1", "Conv2d", "quaternion", "64×32×32", "576", "640", f"{576 * 4 * 1024:,}"] in table
    assert ["fc3", "Linear", "real", "10", "2,560", "2,570", "2,560"] in table
    totals = [line for line in table if line[0] == "total"]
    assert [line[2] for line in totals] == ["4,301,642", "1,077,962"]


def test_info_takes_classes_and_the_head():
    table = lines("info", "resnet-18", "--classes", "100", "--head", "algebra", "--algebra", "quaternion")
    (head,) = [line for line in table if "Linear" in line]
    assert head[1:] == ["Linear", "quaternion", "100", f"{512 * 100 // 4:,}", f"{512 * 100 // 4 + 100:,}", f"{512 * 100:,}"]
    assert any(line[:3] == ["ResNet-18,", "quaternion,", "100"] for line in table)


@pytest.mark.slow
def test_info_without_a_model_lists_all_and_says_what_does_not_divide():
    table = lines("info", "--algebra", "octonion")
    names = [line[0] for line in table[1:-1]]
    tasks = [
        "unet",
        "unet-8",
        "unet-transposed",
        "segnet",
        "yolov1",
        "yolo-tiny",
        "lstm",
        "gru",
        "lstm-steps",
        "gpt",
        "transformer-encoder",
    ]
    assert names == [*PAPER_1, "vgg-16", "resnet-8", "resnet-20", *PAPER_2, *tasks]
    assert ["lenet-300-100", "does", "not", "divide"] in table


def test_presets_lists_every_experiment_with_its_settings():
    table = lines("presets")
    for name, preset in PRESETS.items():
        spec = preset()
        train, kept = spec.train, f"{100 * (1 - spec.prune.fraction):g}"
        start = [name, spec.data.name, spec.model.name, str(train.epochs), str(train.batch_size)]
        start += [train.optimizer, f"{train.learning_rate:g}", kept, "%"]
        assert any(line[: len(start)] == start for line in table), name


def test_data_lists_every_data_set_and_where_it_lies(here):
    table = lines("data", "list", "--data-dir", "nowhere")
    assert [line[0] for line in table[1 : 1 + len(DATASETS)]] == list(DATASETS)
    assert table[1] == ["digits", "1,437", "360", "1×8×8", "10", "part", "of", "scikit-learn"]
    assert table[2] == ["mnist", "60,000", "10,000", "1×28×28", "10", "not", "here"]
    assert list(here.iterdir()) == []


def test_data_check_says_what_is_missing_and_ends_with_1(here):
    ended = call("data", "check", "mnist", "--data-dir", "nowhere")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.count("missing") == 4
    assert call("data", "check", "digits").code == 0
    assert list(here.iterdir()) == []


def test_data_list_names_every_built_in_set(here):
    from fourfold.data import DATASETS
    from fourfold.data.named import READERS

    lines = call("data", "list", "--data-dir", here).out.splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    assert names == ["name", *DATASETS, "name", *READERS]


def test_data_that_are_named_can_be_checked(here):
    assert call("data", "check", "copy-memory").out == "copy-memory can be read: computed\n"
    for action in ("get", "check"):
        ended = call("data", action, "camvid", "--data-dir", here)
        assert (ended.code, "camvid is not in" in ended.err) == (2, True)


@pytest.mark.usefixtures("quick_plan")
def test_a_plan_says_which_data_are_missing_or_fewer(here):
    words = ["run", "lenet-300-100-mnist", "--dry-run", "--algebra", "real", "--data-dir"]
    assert f"\n  mnist is not in {here}: it is downloaded first" in call(*words, here).out
    assert (
        f"\n  imagenet64 is not in {here} (train_data_batch_1 is missing); get "
        in call("run", "resnet18-imagenet64", *words[2:], here).out
    )
    write_mnist(here, train=600, test=100)
    said = f"\n  600 training and 100 test images of mnist are in {here}, of 60,000 and 10,000 official ones\n"
    assert said in call(*words, here).out
    assert said in call("sweep", words[1], "--set", "train.epochs=1,2", "--validation", "60", *words[2:], here).out
    assert "is downloaded first" not in call("run", "digits", *words[2:], here).out
