"""Class folders of images, in a directory or an archive; `folder` leads from path to arrays."""
