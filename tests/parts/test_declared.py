"""Files that declare infrastructure: found, read, and what floats in them told with its line."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.parts import declared
from bis.parts.declared import Declaration, Memory, declarations
from bis.parts.dockerfile import read_dockerfile
from bis.parts.manifests import Unreadable, scalars
from bis.parts.terraform import read_terraform

SHA = "sha256:" + "0123456789abcdef" * 4
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = 10**20
"""A moment at which every file has been left alone for long."""


def write(project: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def found(project: Path, path: str, content: str) -> Declaration:
    """What is told of one file."""
    file = project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    (one,) = declarations(project, Memory(), LATER)[0]
    assert one.path == path
    return one


def told(one: Declaration) -> list[tuple[int, str]]:
    return [(item.line, item.code) for item in one.floating]


# Dockerfiles


def test_the_base_of_an_image_floats_without_a_digest(project: Path) -> None:
    one = found(project, "Dockerfile", f"FROM python:3.11\nRUN true\nFROM debian:12@{SHA} AS base\nFROM base\n")
    assert one.role == "dockerfile"
    assert one.images == ("python:3.11", f"debian:12@{SHA}")
    assert told(one) == [(1, "floating-image")]
    assert one.floating[0].hint.startswith("write python:3.11@sha256:…")


def test_stages_numbers_and_scratch_are_no_images(project: Path) -> None:
    text = "FROM scratch AS a\nFROM A\nCOPY --from=a x y\nCOPY --from=0 x y\nCOPY --from=nginx /etc/nginx /e\n"
    one = found(project, "Dockerfile", text)
    assert one.images == ("nginx",)
    assert told(one) == [(5, "floating-image")]


def test_build_arguments_are_put_in(project: Path) -> None:
    text = "ARG V=3.11\nARG OTHER\nFROM python:${V}-slim\nFROM --platform=$BUILDPLATFORM node:${N:-20}\nFROM x:$OTHER\n"
    one = found(project, "Dockerfile", text)
    assert one.images == ("python:3.11-slim", "node:20")
    assert told(one)[-1] == (5, "floating-image")
    assert "filled in" in one.floating[-1].why


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("apt-get update && apt-get install -y git", "floating-package"),
        ("apt-get install -y --no-install-recommends \\\n    # a comment\n    git \\\n    curl", "floating-package"),
        ("apk add --no-cache bash", "floating-package"),
        ("yum install -y gcc", "floating-package"),
        ("conda install -c conda-forge numpy", "floating-package"),
        ("pip install numpy", "floating-pip"),
        ("python3 -m pip install --upgrade pip", "floating-pip"),
        ("uv pip install 'pandas>=2'", "floating-pip"),
        ("pip install git+https://github.com/a/b@main", "floating-pip"),
        ("curl -L https://example.com/x.sh | sh", "unverified-download"),
        ("wget -q https://example.com/x.tgz", "unverified-download"),
        ("git clone https://github.com/a/b", "floating-clone"),
        ("--mount=type=cache,target=/root/.cache pip install numpy", "floating-pip"),
        ("<<EOF\napt-get install -y git\nEOF", "floating-package"),
        ("DEBIAN_FRONTEND=noninteractive apt-get install -y tzdata", "floating-package"),
    ],
)
def test_what_a_build_fetches_without_a_version_is_told(script: str, code: str) -> None:
    reading = read_dockerfile(f"FROM scratch\n\nRUN {script}\n")
    assert [(item.line, item.code) for item in reading.floating] == [(3, code)]


@pytest.mark.parametrize(
    "script",
    [
        "apt-get update",
        "apt-get install -y git=1:2.39.2-1.1 ./local.deb",
        "apk add bash=5.2.15-r5",
        "dnf install -y gcc-13.2.1-6.fc39",
        "pip install numpy==1.26.4 ./wheels/x.whl",
        "pip install -r requirements.txt -c constraints.txt",
        "pip install .",
        "pip install -e .[dev]",
        f"pip install git+https://github.com/a/b@{COMMIT}",
        "conda install numpy=1.26",
        "curl -LO https://example.com/x && echo abc x | sha256sum -c -",
        f"git clone https://github.com/a/b && cd b && git checkout {COMMIT}",
        "apt-get install -y $PACKAGES",
        "echo install numpy",
        "pip --version",
    ],
)
def test_what_is_held_fast_is_not(script: str) -> None:
    assert read_dockerfile(f"FROM scratch\nRUN {script}\n").floating == ()


def test_added_urls_need_a_checksum() -> None:
    text = (
        f"ADD https://x.org/a /a\nADD --checksum={SHA} https://x.org/b /b\nADD https://github.com/a/b.git#{COMMIT} /c\n"
    )
    assert [(item.line, item.code) for item in read_dockerfile(text).floating] == [(1, "unverified-download")]


def test_pinned_packages_of_the_system_are_known(project: Path) -> None:
    one = found(project, "Dockerfile", f"FROM x@{SHA}\nRUN apt-get install -y libgomp1=12.2.0-14 git\n")
    assert one.pins == ("libgomp1=12.2.0-14",)


@given(st.text(alphabet="FROM RUN\\\n`<EOF#$ {}:a'\"=-&|", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    read_dockerfile(text)


# What deploys


def test_compose(project: Path) -> None:
    text = (
        f"services:\n  db:\n    image: postgres:16 # a comment\n  web:\n    image: 'a/b@{SHA}'\n  c: {{image: redis}}\n"
    )
    one = found(project, "deploy/compose.prod.yaml", text)
    assert one.role == "compose"
    assert one.images == ("postgres:16", f"a/b@{SHA}", "redis")
    assert told(one) == [(3, "floating-image"), (6, "floating-image")]


def test_variables_of_compose_have_defaults(project: Path) -> None:
    one = found(project, "compose.yml", "services:\n  a:\n    image: x:${TAG:-1.2}\n  b:\n    image: y:${TAG}\n")
    assert one.images == ("x:1.2",)
    assert told(one) == [(3, "floating-image"), (5, "floating-image")]


def test_kubernetes_is_known_by_what_it_holds(project: Path) -> None:
    text = "apiVersion: batch/v1\nkind: Job\nspec:\n  template:\n    containers:\n    - image: trainer:latest\n---\n"
    more = "apiVersion: v1\nkind: Pod\nspec:\n  initContainers:\n    - name: a\n      image: x\n"
    one = found(project, "jobs/train.yaml", text + more)
    assert (one.role, one.images) == ("kubernetes", ("trainer:latest", "x"))
    assert told(one) == [(6, "floating-image"), (13, "floating-image")]


def test_other_yaml_is_no_declaration(project: Path) -> None:
    write(project, {"conf/model.yaml": "image: resnet\nkind: big\n", "params.yml": "lr: 0.1\n"})
    assert declarations(project, Memory(), LATER) == ([], True)


def test_helm(project: Path) -> None:
    write(
        project,
        {
            "chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\ndependencies: [{name: pg, version: ^12}]\n",
            "chart/values.yaml": "image: {registry: ghcr.io, repository: a/b, tag: '1.0'}\nother: {image: x}\n",
            "chart/templates/job.yaml": 'kind: Job\nimage: "{{ .Values.image }}"\nimage: busybox\n',
        },
    )
    chart, template, values = declarations(project, Memory(), LATER)[0]
    assert (chart.role, told(chart)) == ("helm chart", [(4, "floating-chart")])
    assert (values.role, values.images) == ("helm values", ("x", "ghcr.io/a/b:1.0"))
    assert (template.role, template.images) == ("helm template", ("busybox",))


def test_a_lock_settles_what_floats_beside_it(project: Path) -> None:
    write(project, {"Chart.yaml": "dependencies:\n- name: pg\n  version: ^12\n", "Chart.lock": "digest: x\n"})
    write(project, {"main.tf": 'terraform {\n required_providers {\n  aws = { source = "hashicorp/aws" }\n }\n}\n'})
    write(project, {".terraform.lock.hcl": "x"})
    assert [told(one) for one in declarations(project, Memory(), LATER)[0]] == [[], [], [], []]


def test_kustomization(project: Path) -> None:
    text = "resources:\n- ../base\n- https://github.com/a/b//x?ref=main\nimages:\n"
    text += "- name: app\n  newName: ghcr.io/a/app\n  newTag: v1\n"
    one = found(project, "overlays/kustomization.yaml", text)
    assert one.images == ("ghcr.io/a/app:v1",)
    assert told(one) == [(3, "floating-remote"), (5, "floating-image")]


def test_github_actions(project: Path) -> None:
    text = (
        "jobs:\n  t:\n    runs-on: ubuntu-latest\n    container: python:3.11\n    steps:\n"
        f"    - uses: actions/checkout@v4\n    - uses: a/b@{COMMIT}\n    - uses: ./local\n    - uses: docker://alpine\n"
        "    - run: |\n        uses: nothing@v1\n        image: no\n"
    )
    one = found(project, ".github/workflows/ci.yml", text)
    assert one.role == "github"
    assert told(one) == [(3, "floating-runner"), (4, "floating-image"), (6, "floating-action"), (9, "floating-image")]
    assert one.images == ("python:3.11", "alpine")


def test_gitlab(project: Path) -> None:
    text = "image:\n  name: python:3\ninclude:\n  - remote: https://x.org/ci.yml\n"
    text += "test:\n  services:\n    - postgres:15\n    - name: redis\n"
    one = found(project, ".gitlab-ci.yml", text)
    assert one.images == ("python:3", "postgres:15", "redis")
    assert told(one) == [(2, "floating-image"), (4, "floating-remote"), (7, "floating-image"), (8, "floating-image")]


def test_further_pipelines(project: Path) -> None:
    write(
        project,
        {
            ".circleci/config.yml": "orbs:\n  a: x/y@1\njobs:\n  b:\n    docker: [{image: cimg/python}]\n",
            "Jenkinsfile": "agent { docker { image 'maven:3' } }\ndocker.image(\"x\").inside {\n",
            "azure-pipelines.yml": "pool:\n  vmImage: ubuntu-latest\n",
            "cloudbuild.yaml": "steps:\n- name: gcr.io/cloud-builders/docker\n",
        },
    )
    circle, jenkins, azure, cloud = declarations(project, Memory(), LATER)[0]
    assert told(circle) == [(2, "floating-action"), (5, "floating-image")]
    assert jenkins.images == ("maven:3", "x")
    assert told(azure) == [(2, "floating-runner")]
    assert cloud.images == ("gcr.io/cloud-builders/docker",)


def test_development_containers(project: Path) -> None:
    text = '{\n  // image\n  "image": "mcr.microsoft.com/devcontainers/python:3.11",\n  "features": {\n'
    text += (
        '    "ghcr.io/devcontainers/features/git:1": {},\n    "ghcr.io/devcontainers/features/node:1.2.3": {}\n  }\n}\n'
    )
    one = found(project, ".devcontainer/devcontainer.json", text)
    assert told(one) == [(3, "floating-image"), (5, "floating-feature")]


def test_further_machines(project: Path) -> None:
    write(
        project,
        {
            "Vagrantfile": 'Vagrant.configure("2") do |config|\n  config.vm.box = "debian/bookworm64"\nend\n',
            "train.def": "Bootstrap: docker\nFrom: nvcr.io/nvidia/pytorch:24.07-py3\n",
            "other.def": "EXPORTS\n",
            "template.yaml": "AWSTemplateFormatVersion: '2010-09-09'\nResources: {}\n",
            "Procfile": "web: python serve.py\n",
            "Dockerfile.gpu": "FROM scratch\n",
            "trainer.service": "[Service]\n",
        },
    )
    roles = {one.path: one.role for one in declarations(project, Memory(), LATER)[0]}
    assert roles == {
        "Dockerfile.gpu": "dockerfile",
        "Procfile": "procfile",
        "Vagrantfile": "vagrant",
        "template.yaml": "cloudformation",
        "train.def": "apptainer",
        "trainer.service": "systemd",
    }


# Terraform


def test_terraform() -> None:
    text = f"""
terraform {{
  required_providers {{
    aws    = {{ source = "hashicorp/aws", version = "~> 5.0" }}
    random = {{
      source  = "hashicorp/random"
      version = "3.6.0" # exact
    }}
  }}
}}
module "vpc" {{
  source  = "terraform-aws-modules/vpc/aws"
  version = ">= 5"
  tags    = {{ a = "b" }}
}}
module "fixed"  {{ source = "x/y/z"
  version = "1.2.3" }}
module "local"  {{ source = "./modules/x" }}
module "git"    {{ source = "git::https://x.org/m.git?ref=v1" }}
module "commit" {{ source = "git::https://x.org/m.git?ref={COMMIT}" }}
/* module "no" {{ source = "x/y/z" }} */
resource "kubernetes_pod" "p" {{
  image = "trainer:1"
}}
"""
    reading = read_terraform(text)
    assert [(item.line, item.code) for item in reading.floating] == [
        (23, "floating-image"),
        (4, "floating-provider"),
        (13, "floating-module"),
        (19, "floating-module"),
    ]
    assert reading.images == ("trainer:1",)


@given(st.text(alphabet='module "x"{}=source\n#/*<E', max_size=60))
def test_no_text_breaks_the_terraform_reader(text: str) -> None:
    read_terraform(text)


# Bad input


def test_yaml_that_is_not_valid_is_told_with_its_line(project: Path) -> None:
    one = found(project, "compose.yml", "services:\n  a: [1\n  b: {\n")
    assert one.trouble.startswith("line ")
    assert one.digest


def test_aliases_cannot_blow_up() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}]\n" for before, name in pairwise("abcdefghijk")
    )
    assert len(scalars(text)) == 2


def test_deep_nesting_is_told(project: Path) -> None:
    with pytest.raises(Unreadable, match="deep"):
        scalars("[" * 100_000)


def test_a_file_that_cannot_be_read_is_told(project: Path) -> None:
    (project / "Dockerfile").mkdir()
    (project / "compose.yml").symlink_to("nowhere")
    assert declarations(project, Memory(), LATER) == ([], True)
    (project / "compose.yaml").write_bytes(b"\xff\xfe\x00" * 10)
    (one,) = declarations(project, Memory(), LATER)[0]
    assert one.trouble


def test_a_huge_file_is_hashed_and_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "LARGEST", 10)
    one = found(project, "Dockerfile", "FROM python:3.11\n")
    assert one.trouble == "too large to be read"
    assert one.digest


def test_names_that_are_no_text_are_spelled(project: Path) -> None:
    (project / os.fsdecode(b"\xff")).mkdir()
    (project / os.fsdecode(b"\xff/Dockerfile")).write_text("FROM scratch\n")
    (one,) = declarations(project, Memory(), LATER)[0]
    assert one.path == "\0ff/Dockerfile"


# Looking, and remembering


def test_environments_and_caches_are_not_looked_through(project: Path) -> None:
    for folder in (".git", "node_modules", "myenv", ".venv", "kept"):
        (project / folder).mkdir()
        (project / folder / "Dockerfile").write_text("FROM scratch\n")
    (project / "myenv" / "pyvenv.cfg").write_text("")
    assert [one.path for one in declarations(project, Memory(), LATER)[0]] == ["kept/Dockerfile"]


def test_a_project_too_large_is_looked_through_in_part(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "MOST_FOLDERS", 2)
    for folder in "abcd":
        (project / folder).mkdir()
    (project / "Dockerfile").write_text("FROM scratch\n")
    one, complete = declarations(project, Memory(), LATER)
    assert [item.path for item in one] == ["Dockerfile"]
    assert not complete


def test_a_project_of_many_nested_folders_is_looked_through(project: Path) -> None:
    deep = project.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "Dockerfile").write_text("FROM scratch\n")
    found, complete = declarations(project, Memory(), LATER)
    assert ([one.path for one in found], complete) == ([f"{'d/' * 400}Dockerfile"], True)


def test_a_link_that_leads_to_itself_is_no_declaration(project: Path) -> None:
    write(project, {"Dockerfile": "FROM scratch\n"})
    (project / "compose.yml").symlink_to("compose.yml")
    files, complete = declarations(project, Memory(), LATER)
    assert ([one.path for one in files], complete) == (["Dockerfile"], True)


def test_an_unchanged_file_is_not_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"Dockerfile": "FROM python\n", "params.yml": "lr: 1\n"})
    memory = Memory()
    first = declarations(project, memory, LATER)
    monkeypatch.setattr(declared, "_examine", lambda *_: pytest.fail("it was read"))
    assert declarations(project, memory, LATER) == first


def test_a_changed_file_is_read_again_and_a_gone_one_forgotten(project: Path) -> None:
    write(project, {"Dockerfile": "FROM python\n", "Procfile": "web: x\n"})
    memory = Memory()
    declarations(project, memory, LATER)
    write(project, {"Dockerfile": "FROM golang\n"})
    os.utime(project / "Dockerfile", ns=(1, 1))
    (project / "Procfile").unlink()
    (one,) = declarations(project, memory, LATER)[0]
    assert one.images == ("golang",)
    assert list(memory.files) == ["Dockerfile"]


def test_what_changed_just_now_is_not_remembered(project: Path) -> None:
    write(project, {"Dockerfile": "FROM python\n"})
    memory = Memory()
    declarations(project, memory, (project / "Dockerfile").stat().st_mtime_ns + 1000)
    assert memory.files == {}
