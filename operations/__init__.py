"""Running a process: settings, logging, signals and drain."""
