"""The web page of `auss web`: its arguments, its visitors and their files, the segmentation of an upload, the page."""
