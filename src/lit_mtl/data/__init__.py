"""From files of sentences to batches: readers, corpus, batching, datamodule; and downloads."""
