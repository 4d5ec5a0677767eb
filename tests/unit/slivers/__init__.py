"""What a sliver sees and how it is entered, as values: no process is started here."""
