"Faces over time: tracks, video files, and the camera of this machine."
