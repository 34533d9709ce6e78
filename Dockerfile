# One image for web, worker and beat; docker-compose.yml says which program runs.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/labeler

COPY requirements.txt constraints.txt ./
RUN pip install --constraint constraints.txt --requirement requirements.txt

COPY manage.py ./
COPY annotations annotations
COPY exports exports
COPY versions versions
COPY labeler labeler

RUN useradd --system --uid 10001 labeler && mkdir -p /var/lib/labeler && chown labeler /var/lib/labeler
USER 10001
ENV LABELER_DATA=/var/lib/labeler
VOLUME /var/lib/labeler
EXPOSE 8000
# Of the web server, which this image is by itself; docker-compose.yml gives the other programs their own, or none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live')"]

CMD ["python", "-m", "gunicorn", "labeler.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--preload", "--workers", "2", "--threads", "8", "--keep-alive", "75", "--worker-tmp-dir", "/dev/shm", "--no-control-socket", "--logger-class", "labeler.logs.GunicornLogger"]
