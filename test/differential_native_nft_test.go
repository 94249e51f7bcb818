package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nftProgram is one nft that stays (nft -i) in a namespace: where a fork is dear, a start of the program for each rule set costs what hundreds of packets do.
type nftProgram struct {
	cmd      *exec.Cmd
	in       *os.File
	terminal *os.File      // which makes it print line by line
	out      *bufio.Reader // what it prints there
	said     *os.File      // on standard error since the last command
	dir      string        // of the file that it reads rules from, and of said
}

// startNFT starts nft in the namespace of this thread.
func startNFT() (p *nftProgram, err error) {
	p = &nftProgram{cmd: exec.CommandContext(context.Background(), "nft", "-i", "-a")} // which its end of input ends
	if p.dir, err = os.MkdirTemp("", "natlab-nft-"); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *nftProgram) start() (err error) {
	if p.said, err = os.OpenFile(filepath.Join(p.dir, "errors"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	reads, in, err := os.Pipe()
	if err != nil {
		return err
	}
	p.in = in
	ours, theirs, err := terminal()
	if err != nil {
		return errors.Join(err, reads.Close())
	}
	p.terminal, p.out = ours, bufio.NewReader(ours)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = reads, theirs, p.said
	if err := errors.Join(p.cmd.Start(), reads.Close(), theirs.Close()); err != nil {
		return err
	}
	_, _ = p.do("") // it may say first what it thinks of the terminal
	return nil
}

// close ends the program, which has nothing more to read.
func (p *nftProgram) close() {
	if p == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Wait()
	_ = errors.Join(p.terminal.Close(), p.said.Close(), os.RemoveAll(p.dir)) // what it was told is of no use any more
}

// terminal is a pair of its ends, which changes nothing of what is written.
func terminal() (ours, theirs *os.File, err error) {
	if ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	fd := int(ours.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	mode, err := unix.IoctlGetTermios(int(theirs.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
		err = unix.IoctlSetTermios(int(theirs.Fd()), unix.TCSETS, mode)
	}
	return ours, theirs, err
}

// load gives nft a file of rules, which it takes as a whole or not at all.
func (p *nftProgram) load(rules string) error {
	if rules == "" {
		return nil
	}
	path := filepath.Join(p.dir, "rules.nft")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		return err
	}
	_, err := p.do(fmt.Sprintf("include %q", path))
	return err
}

// do gives nft a command, and returns what it prints until it answers a question that is asked behind it.
func (p *nftProgram) do(command string) (string, error) {
	const question, answer = "describe meta mark", "meta expression, datatype mark "
	if err := p.said.Truncate(0); err != nil {
		return "", err
	}
	if _, err := p.in.WriteString(command + "\n" + question + "\n"); err != nil {
		return "", err
	}
	var printed strings.Builder
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("nft: %s: %w", command, err)
		}
		if strings.HasPrefix(line, answer) {
			break
		}
		printed.WriteString(line)
	}
	said, err := os.ReadFile(p.said.Name())
	if err == nil && len(said) > 0 {
		err = fmt.Errorf("nft: %s: %s", command, said)
	}
	return printed.String(), err
}
