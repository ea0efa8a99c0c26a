"""What `controller run --demo` shows: a repository, a backend and a story, in one folder."""
