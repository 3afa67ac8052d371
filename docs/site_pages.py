"""What mkdocs.yml cannot say of the documentation site; mkdocs calls the functions here by their names.

Pages of files that lie outside docs/; pages of the API, one per package, from the docstrings of its modules
(the code is read, not imported); and a last look that no page fetches anything from elsewhere.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Files of the repository's root, as pages.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LIBRARIES = ("pangu_jax", "data_pipelines", "tpu_npu_backends")
# What a browser fetches without being asked: scripts, pictures, style sheets, fonts.
ELSEWHERE = r"""\s*["']?(?:https?:)?//"""
FETCHED = re.compile(
    rf"""<(?:script|img|iframe|source)\b[^>]*\ssrc={ELSEWHERE}|<link\b[^>]*\shref={ELSEWHERE}"""
    rf"""|(?:url\(|@import){ELSEWHERE}"""
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    packages = _packages()
    for library in LIBRARIES:
        inner = [name for name in packages if name.startswith(f"{library}.")]
        pages = [{name.removeprefix(f"{library}."): _page(name)} for name in inner]
        config.nav.append({library: [{library: _page(library)}, *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_with_links_from_docs((ROOT / name).read_text())))
    for name, modules in _packages().items():
        files.append(File.generated(config, _page(name), content=_reference(name, modules)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css") and (found := FETCHED.search(path.read_text())):
            raise PluginError(f"{path}: the page fetches from elsewhere: {found[0]}")


def _packages() -> dict[str, list[str]]:
    """Names of packages, each with the names of its public modules."""
    packages = {}
    for library in LIBRARIES:
        for init in sorted((ROOT / library).rglob("__init__.py")):
            modules = sorted(path.stem for path in init.parent.glob("*.py") if not path.stem.startswith("_"))
            packages[".".join(init.parent.relative_to(ROOT).parts)] = modules
    return packages


def _page(package: str) -> str:
    return f"api/{package}.md"


def _reference(package: str, modules: list[str]) -> str:
    """A package's page: its own docstring and names, then those of each module."""
    whole = f"# {package}\n\n::: {package}\n    options: {{show_root_heading: false}}\n"
    parts = (f"::: {package}.{module}\n    options: {{show_root_full_path: true}}\n" for module in modules)
    return "\n".join((whole, *parts))


def _with_links_from_docs(text: str) -> str:
    """A page of the root, its links as they are seen from docs/."""
    for name, page in PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return re.sub(r"""(\]\(|src=")docs/""", r"\1", text)
