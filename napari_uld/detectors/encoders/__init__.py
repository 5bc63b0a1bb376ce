"""From a slab to feature levels."""
