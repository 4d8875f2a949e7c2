module github.com/postrider/postrider/tools/lint

go 1.26.0
