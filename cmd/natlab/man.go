package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (p *program) man() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages, one a command",
		Long: `Write the manual pages into a directory, which is made where it is not there: natlab.1, and one for each command. man -l FILE
shows one; in a folder man1 of the manual's path man natlab-verify finds it.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, errors.New("want a directory"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			if err := p.manPages(cmd.Root(), args[0]); err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			return nil
		},
	}
}

// manPages writes the page of a command and those of the commands below it.
func (p *program) manPages(cmd *cobra.Command, dir string) error {
	if cmd.Hidden || cmd.IsAdditionalHelpTopicCommand() {
		return nil
	}
	path := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
	f, err := os.Create(path) // #nosec G304 -- the user names the directory
	if err != nil {
		return err
	}
	cmd.DisableAutoGenTag = true // what generated it is of no use to a reader
	header := doc.GenManHeader{Title: strings.ToUpper(strings.ReplaceAll(cmd.CommandPath(), " ", "-")), Section: "1", Source: "natlab", Manual: "natlab"}
	if err := errors.Join(doc.GenMan(cmd, &header, f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, sub := range cmd.Commands() {
		if err := p.manPages(sub, dir); err != nil {
			return err
		}
	}
	return nil
}
