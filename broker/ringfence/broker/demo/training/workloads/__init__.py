"""Programs of the training scenario; each stands alone and knows only its environment."""
