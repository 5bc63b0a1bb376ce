"""Pseudo masks made from boxes and RECIST: bounding maps, quarter ellipses, GrabCut."""
