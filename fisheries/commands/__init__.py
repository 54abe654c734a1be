"""`fisheries <command>`; thin, one function a command."""
