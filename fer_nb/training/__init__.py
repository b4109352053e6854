"From labelled faces to a shipped model: data, augmentation, networks, training, evaluation, export. Needs Keras."
