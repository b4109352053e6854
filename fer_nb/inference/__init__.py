"Faces in pictures: open, detect, crop, classify, draw. NumPy, OpenCV and LiteRT; TensorFlow is never imported here."
