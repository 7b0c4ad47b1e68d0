"""Object detection data sets in YOLO form: read, checked, grouped, split and written."""
