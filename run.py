"""python run.py [group=option ...] [setting=value ...]"""

from effdet_lab.cli import main

if __name__ == "__main__":
    main()
