"""The command line. `main` is where the process begins and ends, `app` has the commands."""
