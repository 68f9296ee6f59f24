"""The command line. `launch` is where the process begins and ends, `app` has the commands."""
