"""The Pangu models of Huawei that were published: their folders to run directories, and back."""
