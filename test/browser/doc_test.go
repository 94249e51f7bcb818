// Package browser_test opens natlab's pages in a headless Chromium and goes through them by keyboard. It is built with -tags browser only, by
// `make test-browser`, which installs Chromium where it is missing.
package browser_test
