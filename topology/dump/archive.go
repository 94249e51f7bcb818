package dump

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxFiles is how many files of an archive are looked at.
const maxFiles = 4096

// Unwrap is what a bundle's text is read from: the text itself, or of one that was compressed (RFC 1952), or put into a tar archive among other
// files, or both, the text in it. An archive with several bundles is an error that names them.
func Unwrap(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 1<<12)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("not what gzip made: %w", err)
		}
		in = bufio.NewReaderSize(io.LimitReader(unzipped, MaxBytes+1), 1<<12)
	}
	const ustar = 257 // where a tar header names its format
	if head, _ := in.Peek(ustar + 5); len(head) < ustar+5 || string(head[ustar:]) != "ustar" {
		return in, nil
	}
	return fromTar(tar.NewReader(in))
}

// fromTar is the only bundle among an archive's files.
func fromTar(files *tar.Reader) (io.Reader, error) {
	var found []string
	var text []byte
	for range maxFiles {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not what tar made: %w", err)
		}
		if file.Typeflag != tar.TypeReg {
			continue
		}
		content, is, err := bundleIn(files)
		if err != nil {
			return nil, fmt.Errorf("%s in the archive: %w", short(file.Name), err)
		}
		if is {
			found, text = append(found, file.Name), content
		}
	}
	switch len(found) {
	case 0:
		return nil, errors.New("no file in the archive is a bundle: want what the script of natlab collect prints")
	case 1:
		return bytes.NewReader(text), nil
	}
	return nil, fmt.Errorf("the archive has %d bundles, %s: take out the node's own", len(found), short(strings.Join(found, ", ")))
}

// bundleIn reads a file that is a bundle; another one is passed over.
func bundleIn(file io.Reader) (text []byte, is bool, err error) {
	in := bufio.NewReaderSize(file, 1<<12)
	if head, _ := in.Peek(len(first) + 16); !Is(string(head)) {
		return nil, false, nil
	}
	text, err = io.ReadAll(io.LimitReader(in, MaxBytes+1))
	return text, err == nil, err
}
