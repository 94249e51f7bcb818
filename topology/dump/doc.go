// Package dump is what a node's own programs print of it, in one text: the script that gathers a bundle, and the reader that takes it
// apart again. What the sections mean is read elsewhere.
package dump
