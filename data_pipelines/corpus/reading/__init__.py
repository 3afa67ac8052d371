"""Reading: files of any common kind, packing and encoding in; tables of documents out.

`inputs.find` lists the files, `units.divide` cuts them into units of work, `reader.read` turns a unit into
chunks; `opening.opened` is below it, for those who want streams of known kinds. What cannot be read is
counted and kept with its reason in a `Quarantine`; one broken file or record stops nothing.
"""
