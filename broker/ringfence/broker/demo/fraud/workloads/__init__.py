"""Programs of the fraud scenario; each knows only its environment, and serves the mesh on Unix sockets."""
