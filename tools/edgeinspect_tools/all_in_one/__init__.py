"""From a folder of pictures to a verified bundle in one command."""
