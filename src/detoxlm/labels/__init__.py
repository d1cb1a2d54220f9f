"""What readers say of texts: the texts that they are given, and the files that keep their labels."""
