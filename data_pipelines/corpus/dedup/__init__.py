"""Deduplication: exact documents, near duplicates, exact paragraphs; of corpora larger than memory.

Stage by stage, each a function from files to files, whose tasks run in any order:

    sign          per chunk   hashes of its documents, MinHash bands and paragraphs, cut into parts by hash
    join          per part    exact copies and candidate pairs, from that part of all chunks
    gather        per chunk   the texts that candidates need, by part
    verify        per part    the pairs whose exact Jaccard similarity reaches the threshold
    cluster       once        which documents stay, and how many each represents
    find_repeats  per part    paragraphs that are in an earlier document that stays
    apply         per chunk   the chunk without all that

The result does not depend on the number of parts. `Dedup` holds the settings, `repeat_weight` turns cluster
sizes into sampling weights.
"""

from data_pipelines.corpus.dedup.candidates import join
from data_pipelines.corpus.dedup.clusters import cluster
from data_pipelines.corpus.dedup.paragraphs import find_repeats
from data_pipelines.corpus.dedup.removal import apply
from data_pipelines.corpus.dedup.settings import Dedup
from data_pipelines.corpus.dedup.signatures import sign
from data_pipelines.corpus.dedup.similarity import gather, verify
from data_pipelines.corpus.dedup.weights import repeat_weight

__all__ = ["Dedup", "apply", "cluster", "find_repeats", "gather", "join", "repeat_weight", "sign", "verify"]
