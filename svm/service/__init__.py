"""svmd: takes what users ask for, writes it down, wakes the workers, and tells users how it goes (docs/svmd.md)."""
