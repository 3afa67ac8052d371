"""Files of pictures to batches: an index of any folder, archive or table, decoding, augmentation."""
