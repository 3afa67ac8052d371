#!/usr/bin/env bash
# Guessed: import-linter sees every module that Python can import from the packages it is given, and refuses a contract that
# forbids a module which is not there.
#
# Happens (import-linter 2.16, grimp 3.19): a folder without __init__.py, which Python imports as a namespace package, is not in the
# graph, nor is anything below it. Its imports break no contract and it is not named; only the number of analysed files is
# smaller. And a misspelt external module in forbidden_modules is "KEPT" for ever (one of the root packages would be an error).
# What helps: a test that each folder with code has an __init__.py, and one that what is forbidden can be found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check import-linter==2.16 grimp==3.19

cd "$folder"
mkdir -p house/roof house/cellar/deep
touch house/__init__.py house/roof/__init__.py house/cellar/__init__.py
echo "import json" >house/roof/tiles.py
echo "import sqlite3; from house.roof import tiles" >house/cellar/deep/well.py
cat >.importlinter <<'CONTRACTS'
[importlinter]
root_package = house
include_external_packages = True

[importlinter:contract:floors]
name = Floors
type = layers
layers =
    house.roof
    house.cellar

[importlinter:contract:database]
name = No database
type = forbidden
source_modules = house.cellar
forbidden_modules = sqlite3

[importlinter:contract:misspelt]
name = No database, misspelt
type = forbidden
source_modules = house.cellar
forbidden_modules = sqlite
CONTRACTS
contracts() { PYTHONPATH=. env/bin/lint-imports --no-cache --no-logo | grep -E "KEPT|BROKEN"; }
{
  PYTHONPATH=. env/bin/python -c "from house.cellar.deep import well; print('Python imports', well.__name__)"
  contracts
  touch house/cellar/deep/__init__.py
  echo "with an __init__.py:"
  contracts
} | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Python imports house.cellar.deep.well
Floors KEPT
No database KEPT
No database, misspelt KEPT
with an __init__.py:
Floors BROKEN
No database BROKEN
No database, misspelt KEPT
SEEN
