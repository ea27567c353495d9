"""`dgunet demo`: a local page that shows a restoration stage by stage."""
